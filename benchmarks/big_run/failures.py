"""Which downloads fail, and why: by host, and by when they were tried."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from benchmarks.big_run.draws import Draws, shares
from benchmarks.big_run.urls import HOSTS

DETAILS = {
    "http_404": "Not Found",
    "http_403": "Forbidden",
    "dns_failed": "[Errno -2] Name or service not known",
    "connect_failed": "[Errno 111] Connection refused",
    "timeout": "timed out",
    "http_429": "Too Many Requests",
    "http_503": "Service Unavailable",
    "http_410": "Gone",
    "tls_failed": "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired",
    "connection_lost": "ConnectionResetError: [Errno 104] Connection reset by peer",
    "too_many_redirects": "more than 5",
    "opted_out": "noai",
    "not_an_image": "begins with b'<!DOCTYPE ht'",
    "truncated_image": "OSError: image file is truncated (13 bytes not processed)",
    "too_many_pixels": "12000 x 9000",
}
REASONS = tuple(DETAILS)
WITH_BODY = ("not_an_image", "truncated_image", "too_many_pixels")  # something was sent, so its size and hash are known
PROFILES: dict[str, tuple[float, dict[str, float]]] = {  # share of the hosts; weights of reasons
    "usual": (0.6, {"http_404": 60, "timeout": 12, "http_503": 6, "connection_lost": 6, "http_403": 6, "not_an_image": 6}),
    "guarded": (0.12, {"http_403": 75, "http_429": 12, "http_404": 8}),
    "gone": (0.1, {"dns_failed": 90, "connect_failed": 8, "timeout": 2}),
    "slow": (0.08, {"timeout": 62, "connect_failed": 14, "http_503": 14, "connection_lost": 10}),
    "forgotten": (0.06, {"tls_failed": 64, "http_404": 20, "http_410": 16}),
    "moved": (0.03, {"not_an_image": 50, "too_many_redirects": 18, "http_404": 32}),
    "opted out": (0.01, {"opted_out": 96, "http_404": 4}),
}  # fmt: skip
RARE = 0.4  # weight of every reason anywhere
STEADY = 5  # the first hosts, on which much of a run lies, are of the usual kind


@dataclass(frozen=True)
class Outcomes:
    """What became of n downloads."""

    failed: np.ndarray  # bool (n,)
    reason: np.ndarray  # int64 (n,): position in REASONS, where failed


def outcomes(fetch: Draws, host: np.ndarray, progress: float) -> Outcomes:
    """Outcomes of downloads from `host` (int64 (n,)) at `progress` (0 to 1) of the whole."""
    rate, profile = _hosts()
    weights = _weights() + np.array([_surge(reason, progress) for reason in REASONS])
    worse = weights.sum(axis=1) / _weights().sum(axis=1)  # an outage adds failures, it does not only rename them
    share = 1 - (1 - rate) ** worse[profile]
    ends = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    reason = (fetch.uniform("reason")[:, None] >= ends[profile[host]]).sum(axis=1)
    return Outcomes(fetch.uniform("failed") < share[host], np.minimum(reason, len(REASONS) - 1))


def reason_columns(outcomes: Outcomes) -> tuple[pa.Array, pa.Array]:
    """Columns reason and detail; null where the download went well."""
    position = pa.array(outcomes.reason, mask=~outcomes.failed)
    return pa.array(REASONS).take(position), pa.array(list(DETAILS.values())).take(position)


def with_body(outcomes: Outcomes) -> np.ndarray:
    """bool (n,): the server sent something."""
    known = np.isin(np.array(REASONS), WITH_BODY)
    return ~outcomes.failed | known[outcomes.reason]


def _surge(reason: str, progress: float) -> float:
    """Weight of a reason, beside that of its profile, now: a name service that was down, evenings, limits that tighten."""
    if reason == "dns_failed":
        return 90.0 if 0.31 < progress < 0.35 else 0.0
    if reason in ("timeout", "http_503"):
        return float(max(0.0, np.sin(2 * np.pi * (2 * progress - 0.1)))) * (25.0 if reason == "timeout" else 8.0)
    return 60.0 * max(0.0, progress - 0.7) if reason == "http_429" else 0.0


@lru_cache
def _weights() -> np.ndarray:
    """float64 (profiles, reasons)."""
    return np.array([[RARE + own.get(reason, 0.0) for reason in REASONS] for _, own in PROFILES.values()])


@lru_cache
def _hosts() -> tuple[np.ndarray, np.ndarray]:
    """Share of failures (float64 (HOSTS,)) and position of the profile (int64 (HOSTS,)) of each host."""
    ids = Draws(np.arange(HOSTS, dtype=np.uint64), 0)
    profile = ids.pick("profile", shares([share for share, _ in PROFILES.values()])).astype(np.int64)
    profile[:STEADY] = 0
    usual = 0.04 + 0.55 * ids.uniform("rate") ** 2
    gone = np.isin(profile, [2, 6])  # all of their urls are dead, or forbidden
    rate = np.where(gone, 0.97, np.where(profile == 0, usual, np.minimum(1.6 * usual + 0.1, 0.95)))
    return rate, profile
