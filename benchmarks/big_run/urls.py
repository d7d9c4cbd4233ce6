"""Urls: invented hosts by Zipf's law, and in the name of the file the picture that it shows.

A file is named by 13 hexadecimal digits: twelve of the picture, one of the version of it (0: the original, 1 to 5: saved
again, so that its hash differs in a few bits). So the same picture on other hosts can be told, as in a crawl that keeps names.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.big_run.draws import Draws, shares, zipf

HOSTS = 4_000
VERSIONS = 6  # at most 16: a hexadecimal digit in the names of files
FILE = r"^https?://(?P<host>[^/]+)/.*/(?P<file>[0-9a-f]{13})(?P<ending>\.[a-z]+)"
SYLLABLES = "tu ku pin mei shi hua lan xin jia che you wan qi bao kan ting du zhi wen shang cheng yun hai tian shan feng mao gou niu"
SUBDOMAINS = "img pic static cdn image img1 img2 p3 upload www photo"
FOLDERS = (
    "upload/2014/06 upload/2016/11 uploads/allimg/170312 images pic/thumb bbs/attachments/forum/201803/12 wp-content/uploads/2019/07 "
    "file/2020/0415 product/big album/s800 news/2021/09 d/file/p/2018 u/20220607"
)
ENDINGS = [".jpg", ".png", ".jpeg", ".webp", ".gif"]
ENDING_SHARES = shares([0.8, 0.1, 0.05, 0.03, 0.02])
CONTENT_TYPES = ["image/jpeg", "image/png", "image/jpeg", "image/webp", "image/gif"]  # by ending
BROKEN = [
    "/upload/2019/",
    "data:image/gif;base64,R0lGOD",
    "http://192.168.1.20/img/",
    "http://img host.example/",
    "ftp://pub.example/",
]
STRIDES = (1, 7, 11)  # how each source ranks the hosts: the first of all is the same, others are not
HEX = np.array([f"{number:02x}" for number in range(256)], dtype="S2").view(np.uint8).reshape(256, 2)
VALUE = np.zeros(256, dtype=np.uint64)
VALUE[list(b"0123456789abcdef")] = np.arange(16)


def urls(ids: Draws, style: np.ndarray, picture: np.ndarray, respelt: np.ndarray) -> pa.Array:
    """string (n,): the url of each id.

    Args:
        style: int (n,), position of the source that the url was found in.
        picture: uint64 (n,), below 2⁴⁸.
        respelt: bool (n,), the same address in another spelling: with a query.
    """
    rank = ids.pick("host", _host_table()).astype(np.int64)
    host = hosts().take(pa.array(rank * np.array(STRIDES)[style] % HOSTS))
    folder = _taken(FOLDERS.split(), ids.bits("folder"))
    version = np.where(ids.uniform("version?") < 0.35, 1 + ids.bits("version") % np.uint64(VERSIONS - 1), 0)
    name = hexadecimal((picture << np.uint64(16) | version.astype(np.uint64) << np.uint64(12))[:, None], 13)
    ending = pa.array(ENDINGS).take(pa.array(ids.pick("ending", ENDING_SHARES)))
    scheme = pc.if_else(pa.array(ids.uniform("https") < 0.7), "https://", "http://")
    start = pc.binary_join_element_wise(scheme, host, "/", folder, "/", name, ending, "")
    query = pc.if_else(pa.array(respelt), "?from=list", None)
    sound = pc.binary_join_element_wise(start, query, "", null_handling="skip")
    broken = pc.binary_join_element_wise(_taken(BROKEN, ids.bits("broken")), name, "")
    return pc.if_else(pa.array(ids.uniform("broken?") < 0.008), broken, sound)


def parse(urls: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(host, picture, version, ending) of urls that `urls` made and the rules kept: int64 position in `hosts()`, uint64,
    int64, int64 position in ENDINGS.

    Raises:
        ValueError: a url of another form.
    """
    parts = pc.extract_regex(urls.combine_chunks(), FILE)
    if parts.null_count:
        raise ValueError(f"not a url of this generator: {urls.filter(pc.is_null(parts))[0]}")
    host, file, ending = (pc.struct_field(parts, name) for name in ("host", "file", "ending"))
    number = from_hexadecimal(file, 13)
    return (
        pc.index_in(host, hosts()).to_numpy().astype(np.int64),
        number >> np.uint64(4),
        (number & np.uint64(15)).astype(np.int64),
        pc.index_in(ending, pa.array(ENDINGS)).to_numpy().astype(np.int64),
    )


def hexadecimal(words: np.ndarray, digits: int) -> pa.Array:
    """string (n,): the first `digits` hexadecimal digits of uint64 `words` (n, k), the most significant first."""
    data = np.ascontiguousarray(words.astype(">u8")).view(np.uint8)
    text = HEX[data].reshape(len(words), -1)[:, :digits]
    offsets = np.arange(len(words) + 1, dtype=np.int32) * digits
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text)))


def from_hexadecimal(texts: pa.Array | pa.ChunkedArray, digits: int) -> np.ndarray:
    """uint64 (n,): the numbers that the first `digits` hexadecimal digits (at most 16) of each text say."""
    cut = pc.utf8_slice_codeunits(texts, 0, digits)
    cut = cut.combine_chunks() if isinstance(cut, pa.ChunkedArray) else cut
    data = np.frombuffer(cut.buffers()[2], dtype=np.uint8)[: len(cut) * digits].reshape(-1, digits)
    weights = np.uint64(1) << (np.arange(digits, dtype=np.uint64)[::-1] * np.uint64(4))
    return VALUE[data] @ weights


@lru_cache
def hosts() -> pa.Array:
    """string (HOSTS,): names under a domain that no one can own."""
    ids = Draws(np.arange(HOSTS, dtype=np.uint64), 0)
    syllables = SYLLABLES.split()
    first, second, third = (_taken(syllables, ids.bits(f"syllable {number}")) for number in range(3))
    third = pc.if_else(pa.array(ids.uniform("two syllables") < 0.4), None, third)
    number = pa.array([str(position) for position in range(HOSTS)])  # makes each name the only one
    name = pc.binary_join_element_wise(first, second, third, number, "", null_handling="skip")
    return pc.binary_join_element_wise(_taken(SUBDOMAINS.split(), ids.bits("subdomain")), name, "example", ".")


@lru_cache
def _host_table() -> np.ndarray:
    return zipf(HOSTS, 1.05, flat=3)


def _taken(values: list[str], bits: np.ndarray) -> pa.Array:
    return pa.array(values).take(pa.array((bits % np.uint64(len(values))).astype(np.int32)))
