"""The web folder of a world: which path is answered how, and the image files behind the paths."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from demo.images import ENDINGS, image_file

ImageOrder = tuple[str, str, int, str]  # svg, form, side in pixels, background


class Site:
    """Collects routes and images, and writes them for demo.server."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.base_url = base_url
        self._routes: dict[str, dict[str, Any]] = {}
        self._images: dict[str, ImageOrder] = {}

    def add(self, path: str, order: ImageOrder | None = None, kind: str = "file", **details: Any) -> str:
        """A path (not percent-encoded, from "/") answered by a route of demo.server; returns its url."""
        if path in self._routes:
            raise ValueError(f"{path} has a route already")
        if order is not None:
            details["file"] = f"files/{len(self._images):05d}{Path(path).suffix}"
            self._images[details["file"]] = order
        self._routes[path] = {"kind": kind, **details}
        return self.base_url + path

    def write(self) -> None:
        """Renders all images, on as many processes as there are cores, and writes routes.json."""
        (self.folder / "files").mkdir(parents=True)
        with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
            contents = pool.map(_image, self._images.values(), chunksize=16)
            for name, content in zip(self._images, contents, strict=True):
                (self.folder / name).write_bytes(content)
        text = json.dumps(self._routes, ensure_ascii=False, indent=0)
        (self.folder / "routes.json").write_text(text, encoding="utf-8")


def ending(form: str) -> str:
    """The usual file ending of an image form."""
    return ENDINGS.get(form, ".jpg")


def _image(order: ImageOrder) -> bytes:
    return image_file(*order)
