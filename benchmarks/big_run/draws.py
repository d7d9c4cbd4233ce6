"""Random numbers that follow from an id, a seed and a name alone, so that any part of a run can be made by itself."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TABLE_BITS = 18  # of a table that values are picked from; rarer ones than 1 in 2¹⁸ do not occur


@dataclass(frozen=True)
class Draws:
    """Independent draws by name, one for each id. Draws of one name and id are always the same."""

    ids: np.ndarray  # uint64 (n,)
    seed: int

    def bits(self, name: str) -> np.ndarray:
        """uint64 (n,): SplitMix64 of the ids, in the stream of this name."""
        stream = _mix(np.array([zlib.crc32(name.encode()) << 32 | self.seed & 0xFFFFFFFF], dtype=np.uint64))
        return _mix(self.ids * np.uint64(0x9E3779B97F4A7C15) + stream)

    def uniform(self, name: str) -> np.ndarray:
        """float64 (n,) in [0, 1)."""
        return (self.bits(name) >> np.uint64(11)) * 2.0**-53

    def normal(self, name: str) -> np.ndarray:
        """float64 (n,), standard normal (Box and Muller)."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(f"{name} radius")))
        return radius * np.cos(2 * np.pi * self.uniform(f"{name} angle"))

    def pick(self, name: str, table: np.ndarray) -> np.ndarray:
        """Entries (n,) of a `table` that `shares` or `zipf` made."""
        return table[(self.bits(name) >> np.uint64(64 - TABLE_BITS)).astype(np.int64)]


def shares(weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """int32 (2¹⁸,): each position of `weights` as often as its weight says."""
    ends = np.cumsum(weights)
    return np.searchsorted(ends / ends[-1], (np.arange(1 << TABLE_BITS) + 0.5) / (1 << TABLE_BITS)).astype(np.int32)


def zipf(count: int, exponent: float = 1.0, flat: float = 0.0) -> np.ndarray:
    """int32 (2¹⁸,): positions 0 to `count` - 1, the first most often; `flat` makes the first ones more alike."""
    return shares(1.0 / (np.arange(1, count + 1) + flat) ** exponent)


def _mix(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
