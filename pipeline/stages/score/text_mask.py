"""Text in images, found and made unreadable before scoring: pictures that only show their own caption then win nothing.

T-MARS (arXiv 2307.03132) masks text and scores what is left; arXiv 2309.15954 blurs it. Text is what PP-OCRv4 finds and can
read: its detector, a differentiable-binarisation network (arXiv 1911.08947), takes much of a drawing for text, and its
recogniser then reads nothing there. Both come with the package rapidocr-onnxruntime, of which only the two model files are
used: its own classes keep state between calls, so threads cannot share them.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

PACKAGE = "rapidocr_onnxruntime"
DETECTOR, RECOGNISER = "models/ch_PP-OCRv4_det_infer.onnx", "models/ch_PP-OCRv4_rec_infer.onnx"
# The package's own settings for these models (its config.yaml).
PIXEL_LEVEL = 0.3  # probability from which a pixel is text
BOX_LEVEL = 0.5  # mean probability within a box from which the box is text
UNCLIP = 1.6  # the network marks shrunken text; a box grows by area · UNCLIP / perimeter on each side
SMALLEST = 3  # pixels of the detector's image; shorter boxes are noise
READ_HEIGHT = 48  # pixels of a line, as the recogniser takes it
MULTIPLE = 32  # the network takes sides that are multiples of this
# Chosen here, on 369 drawings of 224 pixels and on Chinese captions, 10 to 28 pixels high, on paper and on drawings: 96% of
# the ink is covered, and 8 drawings are touched, of which 4 do have writing; without reading it would be 49. One core takes
# 26 ms for an image, and 18 more for each line of text. Writing in photos was not measured.
READ_LEVEL = 0.7  # mean probability of the characters read in a box, from which it is text (rapidocr's own bound: 0.5)
SIDE = 320  # pixels of the longer side that the detector sees; larger finds smaller text and costs its square
LINE = 2.0  # a line is at least that much longer than high; single marks are not text

Mode = Literal["blur", "mask"]


class TextHider:
    """Finds lines of text in an image and blurs them or paints over them; calls from several threads are safe."""

    def __init__(self, mode: Mode) -> None:
        """Raises ModuleNotFoundError naming the extra where the detector is not installed."""
        self.mode = mode
        self._detector = load_session("mask_text", "ocr", PACKAGE, DETECTOR)
        self._recogniser = load_session("mask_text", "ocr", PACKAGE, RECOGNISER)

    def __call__(self, image: Image.Image) -> Image.Image:
        """A copy (RGB) whose text is hidden, or `image` itself where there is none."""
        if min(image.size) < SMALLEST:
            return image
        pixels = np.array(image.convert("RGB"))
        boxes = self.boxes(pixels)
        if not boxes:
            return image
        hide = _blur if self.mode == "blur" else _paint
        return Image.fromarray(hide(pixels, boxes))

    def boxes(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Corners of each line of text in uint8 (height, width, 3): int32 (4, 2), x and y in pixels."""
        height, width = pixels.shape[:2]
        scale = SIDE / max(height, width)
        shape = [max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (height, width)]
        seen = cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
        scores = _run(self._detector, seen)[0]
        boxes = _boxes(scores, np.array([width / shape[1], height / shape[0]], np.float32))
        return [np.round(box).astype(np.int32) for box in boxes if self._reads(_straight(pixels, box))]

    def _reads(self, line: np.ndarray) -> bool:
        """Whether uint8 (READ_HEIGHT, width, 3) shows at least two characters."""
        probabilities = _run(self._recogniser, line)  # (places, characters); character 0 is the blank between two
        best = probabilities.argmax(1)
        read = probabilities.max(1)[(best > 0) & np.append(True, best[1:] != best[:-1])]
        return len(read) > 1 and float(read.mean()) >= READ_LEVEL


def _run(session: Any, pixels: np.ndarray) -> np.ndarray:
    """The network's answer for one uint8 RGB image (both were trained on -1 to 1, blue first)."""
    planes = (pixels[..., ::-1].astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    return session.run(None, {session.get_inputs()[0].name: planes})[0][0]


def _straight(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The inside of a box as a level line of READ_HEIGHT pixels; a box that stands upright is read from its side."""
    top_left, top_right, bottom_right, bottom_left = _ordered(box)
    width, height = float(np.linalg.norm(top_right - top_left)), float(np.linalg.norm(bottom_left - top_left))
    if height > 1.5 * width:  # as rapidocr does
        top_left, top_right, bottom_right, bottom_left = top_right, bottom_right, bottom_left, top_left
        width, height = height, width
    long = max(MULTIPLE, round(READ_HEIGHT * width / max(height, 1.0)))
    corners = np.array([top_left, top_right, bottom_right, bottom_left], np.float32)
    goal = np.array([[0, 0], [long, 0], [long, READ_HEIGHT], [0, READ_HEIGHT]], np.float32)
    turn = cv2.getPerspectiveTransform(corners, goal)
    return cv2.warpPerspective(
        pixels, turn, (long, READ_HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _ordered(box: np.ndarray) -> np.ndarray:
    """Corners from the top left one, clockwise."""
    by_x = box[np.argsort(box[:, 0], kind="stable")]
    top_left, bottom_left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    top_right, bottom_right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.array([top_left, top_right, bottom_right, bottom_left])


def load_session(option: str, extra: str, package: str, file: str) -> Any:
    """An onnxruntime session on one thread of a model file that a package ships; the package is not imported.

    Raises ModuleNotFoundError naming the recipe's `option` and zhclip's `extra` where anything is missing.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or importlib.util.find_spec("onnxruntime") is None:
        raise ModuleNotFoundError(
            f"score.{option} needs {package.replace('_', '-')} and onnxruntime, which are not installed: "
            f"pip install 'zhclip[{extra}]'"
        )
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # images are the unit of parallel work
    options.log_severity_level = 3
    path = Path(spec.origin).parent / file
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _boxes(probability: np.ndarray, scale: np.ndarray) -> list[np.ndarray]:
    """Grown boxes (float32 (4, 2)) around regions of a float32 (height, width) map, in pixels of the image (map · `scale`)."""
    regions, _ = cv2.findContours((probability > PIXEL_LEVEL).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for region in regions:
        centre, (width, height), angle = cv2.minAreaRect(region)
        if min(width, height) < SMALLEST or max(width, height) < LINE * min(width, height):
            continue
        if _mean_within(probability, region) < BOX_LEVEL:
            continue
        grow = width * height * UNCLIP / (width + height)  # both sides: twice area · UNCLIP / (2 · (width + height))
        corners = cv2.boxPoints((centre, (width + grow, height + grow), angle)) * scale
        boxes.append(corners)
    return boxes


def _mean_within(probability: np.ndarray, region: np.ndarray) -> float:
    left, top, width, height = cv2.boundingRect(region)
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, [region - [left, top]], 0, 1, cv2.FILLED)
    return cv2.mean(probability[top : top + height, left : left + width], inside)[0]


def _blur(pixels: np.ndarray, boxes: list[np.ndarray]) -> np.ndarray:
    """Blurs the boxes by their own height, so that no stroke of any size is left."""
    hidden = pixels.copy()
    for box in boxes:
        inside = cv2.fillConvexPoly(np.zeros(pixels.shape[:2], np.uint8), box, 1).astype(bool)
        sigma = max(2.0, float(min(np.linalg.norm(box[0] - box[1]), np.linalg.norm(box[1] - box[2]))) / 2)
        hidden[inside] = cv2.GaussianBlur(pixels, (0, 0), sigma)[inside]
    return hidden


def _paint(pixels: np.ndarray, boxes: list[np.ndarray]) -> np.ndarray:
    """Fills each box with the mean colour of what surrounds it."""
    hidden = pixels.copy()
    empty = np.zeros(pixels.shape[:2], np.uint8)
    text = empty.copy()
    cv2.fillPoly(text, boxes, 1)
    for box in boxes:
        inside = cv2.fillConvexPoly(empty.copy(), box, 1)
        around = cv2.dilate(inside, np.ones((9, 9), np.uint8)) & (1 - text)
        hidden[inside.astype(bool)] = np.round(cv2.mean(pixels, around if around.any() else 1 - inside)[:3])
    return hidden
