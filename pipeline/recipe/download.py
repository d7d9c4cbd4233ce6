"""The `download` part of a recipe, and the reason codes of images that could not be downloaded."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from filters.url import UrlSanity
from foundation.config import Config, value
from foundation.failure import Failure
from foundation.urls import host_and_port

REASONS: dict[str, str] = {
    "url_malformed": UrlSanity.reasons["url_malformed"],
    "refused_scheme": "neither http nor https, at first or after a redirect",
    "refused_address": "a private, loopback, link-local, metadata or otherwise non-public address",
    "dns_failed": "the host has no address, or the name service did not answer",
    "connect_failed": "no connection to any of the host's addresses",
    "tls_failed": "no trusted TLS connection (certificate, handshake)",
    "connection_lost": "the connection broke, or its content is not HTTP",
    "timeout": "a single wait, or the download as a whole (redirects, pauses, retries), took too long",
    "http_STATUS": "the server answered with another status than 200: http_404, http_503, …",
    "too_many_redirects": "more redirects than `max_redirects`, or a loop",
    "opted_out": "X-Robots-Tag forbids the use",
    "file_missing": "none of the source's `images` folders and zip files has the file",
    "file_unreadable": "a local file or zip member that cannot be read: rights, a device, a damaged archive",
    "refused_path": "a local path that leaves its folder",
    "too_many_bytes": "the body is larger than `max_bytes`, as declared or as sent",
    "empty_response": "status 200 with an empty body, or an empty file",
    "not_an_image": "no decoder recognises the bytes as an image",
    "truncated_image": "the image data ends early",
    "too_many_pixels": "more pixels than `max_pixels`, by the header or after resizing",
    "too_small": "the shorter side (of the crop, where the url names one) is below `min_side`",
    "crop_outside": "the part that the url's #xywh= names lies outside the image, or is empty",
    "shard_deadline": "the shard's time (`shard_deadline`) was over before the image was there; `detail` says how long it had",
    "downloader_died": "the downloading process died with this row in hand, or again and again before the row's turn",
    "lost_by_downloader": "img2dataset gave no answer for the row",
    "other": "anything else; `detail` says what",
}
"""Reason codes of rows that failed. The names are stable; `http_STATUS` stands for one code per status."""


class Download(Config):
    """How images are fetched and what they become."""

    image_size: int = value(224, "side of the stored image (paper, section 3.1: 224, and 336)", "px", ge=16, le=2048)
    resize: Literal["squash", "center_crop", "keep_ratio", "border"] = value(
        "squash",
        "squash: both sides to image_size, as Chinese-CLIP's own transform does; center_crop: the middle square; "
        "keep_ratio: the shorter side to image_size; border: the longer side to image_size, padded with white",
    )
    jpeg_quality: int = value(95, "quality of the stored JPEG", "of 100", ge=1, le=100)
    min_side: int = value(0, "images with a shorter side below this are refused", "px", ge=0)
    max_pixels: int = value(
        50_000_000, "larger images are refused by their header, before they are decoded", "px", ge=1
    )
    max_bytes: int = value(20 * 2**20, "larger bodies are refused", "bytes", ge=1)
    threads: int = value(64, "simultaneous requests of one shard", "threads", ge=1, le=1024)
    timeout: float = value(10.0, "longest single wait: to connect, and for each read", "s", gt=0)
    deadline: float = value(
        30.0, "longest time for one image: name lookup, redirects, pauses, retries and body", "s", gt=0
    )
    shard_deadline: float = value(
        1800.0,
        "longest time for one shard: then requests in flight are given up and no others begun, what came is kept, and the "
        "rest has the reason shard_deadline (`zhclip retry` fetches it)",
        "s",
        gt=0,
    )
    retries: int = value(
        2, "further tries after temporary failures: timeouts, lost connections, 408, 425, 429, 5xx", ge=0
    )
    backoff: float = value(0.5, "pause before the first retry; doubles each time, half to one and a half", "s", ge=0)
    max_redirects: int = value(5, "redirects followed for one image; each target is checked like the first url", ge=0)
    allow_hosts: tuple[str, ...] = value(
        (), 'hosts ("name" or "name:port") that may have private addresses; for demonstrations and tests'
    )
    user_agent: str = value(
        "Mozilla/5.0 (compatible; zhclip; image-text research)", "the User-Agent header, printable ASCII"
    )
    user_agent_token: str = value("zhclip", "the name by which X-Robots-Tag may address this downloader")
    opt_out_directives: tuple[str, ...] = value(
        ("noai", "noimageai", "noindex", "noimageindex"), "X-Robots-Tag directives that forbid the use; empty: ignored"
    )

    @field_validator("allow_hosts")
    @classmethod
    def _hosts(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            try:
                host_and_port(entry)
            except (Failure, ValueError) as error:
                raise ValueError(f"{entry!r} is neither a host nor host:port") from error
        return entries

    @field_validator("user_agent")
    @classmethod
    def _one_ascii_line(cls, agent: str) -> str:
        if not (agent.isascii() and agent.isprintable()):
            raise ValueError("must be printable ASCII on one line: it is sent as a header")
        return agent
