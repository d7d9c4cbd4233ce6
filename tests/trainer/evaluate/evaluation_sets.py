"""Small evaluation sets, as real files in each of the layouts that such sets are published in.

Image n is a flat colour of its own, so that a test can tell which one it got.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def colour(number: int) -> tuple[int, int, int]:
    """RGB of image `number`."""
    return (number * 37 % 256, number * 91 % 256, number * 53 % 256)


def picture(number: int, form: str = "JPEG", size: tuple[int, int] = (40, 30)) -> bytes:
    """An encoded image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour(number)).save(buffer, form)
    return buffer.getvalue()


def number_of(content: bytes) -> int:
    """Which picture it is."""
    with Image.open(io.BytesIO(content)) as image:
        pixel = image.convert("RGB").getpixel((20, 15))
    assert isinstance(pixel, tuple)
    return min(range(200), key=lambda number: sum(abs(a - b) for a, b in zip(pixel, colour(number), strict=True)))


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_tsv(folder: Path, stem: str, ids: Sequence[int], encode: Any = base64.urlsafe_b64encode) -> None:
    """`STEM_imgs.tsv`: image `ids[n]` is picture n."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = (b"%d\t%s\n" % (name, encode(picture(number))) for number, name in enumerate(ids))
    (folder / f"{stem}_imgs.tsv").write_bytes(b"".join(rows))


def write_muge(folder: Path) -> Path:
    """MUGE: three images in `valid`, a query with two of them; `test` without answers; a small `train`."""
    for split, ids in (("valid", (1000002, 1000016, 1000033)), ("test", (2000001,)), ("train", (3000001,))):
        write_tsv(folder, f"MR_{split}", ids)
    write_jsonl(
        folder / "MR_valid_queries.jsonl",
        [
            {"query_id": 8, "query_text": "高级感托特包斜挎", "item_ids": [1000033, 1000002]},
            {"query_id": 9, "query_text": "纯棉碎花吊带裙", "item_ids": [1000016]},
        ],
    )
    write_jsonl(folder / "MR_test_queries.jsonl", [{"query_id": 10, "query_text": "北欧轻奢边几"}])
    write_jsonl(folder / "MR_train_queries.jsonl", [{"query_id": 1, "query_text": "围巾", "item_ids": [3000001]}])
    return folder


def write_chinese_clip(folder: Path, encode: Any = base64.urlsafe_b64encode) -> Path:
    """Chinese-CLIP's layout with `valid` and `test`; in `test`, two captions of one image."""
    for split, first in (("valid", 10), ("test", 20)):
        write_tsv(folder, split, (first, first + 1), encode)
        rows = [(1, "一只狗", [first]), (2, "两只猫", [first + 1]), (3, "小狗在跑", [first])]
        write_jsonl(folder / f"{split}_texts.jsonl", [{"text_id": n, "text": t, "image_ids": i} for n, t, i in rows])
    return folder


def write_coco_cn(folder: Path) -> Path:
    """COCO-CN's archive, and COCO's images in val2014 and train2014 beside it; image 3 is in another split."""
    archive = folder / "coco-cn-version1805v1.1"
    archive.mkdir(parents=True)
    names = [
        f"COCO_{part}2014_{number:012d}" for number, part in ((42, "val"), (73, "val"), (9, "train"), (8, "train"))
    ]
    for number, name in enumerate(names):
        path = folder / name.split("_")[1] / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(number))
    captions = f"{names[0]}#0\t一只棕色的狗\n{names[0]}#1\t狗在草地上\n{names[1]}#0\t两辆摩托车 Honda CB\n"
    captions += f"{names[3]}#0\t别的\n{names[2]}#0\t人们在海边\n"
    (archive / "imageid.human-written-caption.txt").write_text(captions, encoding="utf-8")
    (archive / "imageid.human-written-caption.bosonseg.txt").write_text("not:x this:y\n", encoding="utf-8")
    for split, part in (("train", names[3:]), ("val", names[2:3]), ("test", [names[0], names[1]])):
        (archive / f"coco-cn_{split}.txt").write_text("\n".join(part) + "\n", encoding="utf-8")
    return folder


def write_flickr30k_cn(folder: Path) -> Path:
    """Flickr30k-CN's archive: a folder for each split, captions in words with tags, images apart."""
    for split, marker, ids in (("zhmbosontest", "zhm", (1007129816, 1009434119)), ("zhbbosonval", "zhb", (36979,))):
        part = folder / f"flickr30k{split}"
        (part / "ImageSets").mkdir(parents=True)
        (part / "TextData").mkdir()
        (part / "ImageSets" / f"{part.name}.txt").write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
        tags = (":m", ":n", ":v") if marker == "zhm" else ("", "", "")
        rows = [
            f"{name}#{marker}#{n} 一个{tags[0]} 男人{tags[1]} 骑{tags[2]} BMX bike{n}\n"
            for name in ids
            for n in range(2)
        ]
        (part / "TextData" / f"seg.{part.name}.caption.txt").write_text("".join(rows), encoding="utf-8")
    images = folder / "flickr30k-images"
    images.mkdir()
    for number, name in enumerate((1007129816, 1009434119, 36979)):
        (images / f"{name}.jpg").write_bytes(picture(number))
    return folder


def write_flickr30k_cna(folder: Path) -> Path:
    """Flickr30k-CNA: one file a split, in folders."""
    for split, name in (("test", "flickr30k_cn_test.txt"), ("train", "flickr30k_cna_train.txt")):
        (folder / split).mkdir(parents=True)
        rows = "1007129816.jpg#0\t一个戴帽子的男人\n1007129816.jpg#1\t男人戴眼镜\n1009434119.jpg#0\t一只狗\n"
        (folder / split / name).write_text(rows, encoding="utf-8")
    images = folder / "images" / "flickr30k-images"
    images.mkdir(parents=True)
    for number, image in enumerate((1007129816, 1009434119)):
        (images / f"{image}.jpg").write_bytes(picture(number))
    return folder


def write_folder(folder: Path) -> Path:
    """Images and captions.jsonl; two lines have the same text."""
    (folder / "pictures").mkdir(parents=True)
    for number in range(4):
        (folder / "pictures" / f"{number}.png").write_bytes(picture(number, "PNG"))
    rows = [("pictures/0.png", "红色"), ("pictures/1.png", "绿色"), (["pictures/2.png", "pictures/3.png"], "红色")]
    write_jsonl(folder / "captions.jsonl", [{"image": image, "text": text} for image, text in rows])
    return folder


def write_published(folder: Path) -> Path:
    """A folder as zhclip publishes it: two shards of two pairs; pair 3 has pair 0's image, pair 2 pair 1's caption."""
    folder.mkdir(parents=True)
    pairs = [("k0", 0, "一只狗"), ("k1", 1, "一只猫"), ("k2", 2, "一只猫"), ("k3", 0, "一只小狗")]
    shards = [_write_shard(folder, f"{number:06d}", pairs[2 * number : 2 * number + 2]) for number in range(2)]
    (folder / "manifest.json").write_text(json.dumps({"name": "small", "shards": shards}), encoding="utf-8")
    (folder / "000009.parquet").write_bytes(b"left over; no manifest names it")
    return folder


def _write_shard(folder: Path, name: str, pairs: Sequence[tuple[str, int, str]]) -> dict[str, Any]:
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        for key, number, caption in pairs:
            for suffix, content in (("jpg", picture(number)), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    with tarfile.open(folder / f"{name}.tar") as tar:
        members = {member.name: member for member in tar}
    rows = [
        {
            "key": key, "caption": caption, "tar": f"{name}.tar", "offset": members[f"{key}.jpg"].offset_data,
            "length": members[f"{key}.jpg"].size, "image_sha256": hashlib.sha256(picture(number)).hexdigest(),
        }
        for key, number, caption in pairs
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return {"shard": name, "files": {f"{name}.tar": {}, f"{name}.parquet": {}}}
