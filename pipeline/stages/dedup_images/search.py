"""All pairs of near hashes, exactly, without comparing all with all.

If two hashes differ in at most d bits and the bits are dealt to d + k blocks, then at least k blocks are equal. So for
every choice of k blocks the hashes are sorted by those blocks, and only hashes equal there are compared (multi-block
sorting; the block permutation of Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", 2007).
k is chosen by cost. Blocks share the bits that vary most, so that pictures on white grounds do not fill a few buckets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from pipeline.stages.score.fingerprint import WORDS, differing_bits

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # first row, second row (int64), differing bits (int64)

SMALL = 2_048  # hashes; so few are compared all with all
LONG_RUN = 4_096  # hashes with an equal key; longer runs are divided again, by the bits that vary among them
DEEPEST = 3  # divisions of a run; then all of it are compared with all
CHUNK = 1 << 18  # hashes handled at a time: bounds memory
MOST_KEYS = 2_000
FEWEST_BLOCKS = 4  # a block fits into a word
SORT_COST, COMPARE_COST = 100.0, 10.0  # ns to extract, sort and gather one hash; to compare two (one core, measured)


def near_pairs(hashes: np.ndarray, distance: int, mirrors: np.ndarray | None = None) -> Iterator[Pairs]:
    """All pairs of rows whose hashes differ in at most `distance` bits, each pair once, in pieces of bounded size.

    Equal hashes should be collapsed first (`collapse`): m equal ones are m (m - 1) / 2 pairs.

    Args:
        hashes: uint64 (n, 3).
        mirrors: uint64 (n, 3), the hashes of the mirror images: two rows are near as well where the hash of one is near
            to the mirror hash of the other; the least distance counts.
    """
    if mirrors is None:
        yield from _search(hashes, distance, len(hashes), 0)
        return
    count = len(hashes)
    for first, second, _ in _search(np.concatenate([hashes, mirrors]), distance, count, 0):
        yield _first_way(first, second, distance, hashes, mirrors)


def collapse(*hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are equal in all of `hashes` (each uint64 (n, 3)) as one: int64 (groups,), the first row of each group in
    row order; and int64 (n,), the group of each row."""
    words = [column for group in hashes for column in group.T]
    order = np.lexsort(words)  # stable: equal rows stay in row order
    begins = np.zeros(len(order), dtype=bool)
    begins[:1] = True
    for column in words:
        ranked = column[order]
        begins[1:] |= ranked[1:] != ranked[:-1]
    first = order[begins]
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    groups = np.empty(len(order), dtype=np.int64)
    groups[order] = rank[np.cumsum(begins) - 1]
    return np.sort(first), groups


def near_among(hashes: np.ndarray, others: np.ndarray, distance: int) -> Pairs:
    """Rows of `hashes` (uint64 (n, 3)) and of `others` (uint64 (m, 3)) that differ in at most `distance` bits, and the bits.

    Compares all with all, for few `others`; about 4 ns a pair on one core, at any distance: one of the words differs in a third
    of the bits at most. Memory is bounded but for what is found.
    """
    pieces: list[Pairs] = []
    step = max(1, CHUNK // max(1, len(others)))
    words = np.ascontiguousarray(others.T)
    for start in range(0, len(hashes), step):
        rows = hashes[start : start + step]
        close = np.zeros((len(rows), len(others)), dtype=bool)
        for number, word in enumerate(words):
            close |= np.bitwise_count(rows[:, number, None] ^ word) <= distance // WORDS
        first, second = np.nonzero(close)
        bits = differing_bits(rows[first], others[second])
        near = bits <= distance
        pieces.append((first[near] + start, second[near], bits[near]))
    empty = np.zeros(0, dtype=np.int64)
    return tuple(np.concatenate(part) for part in zip(*pieces, strict=True)) if pieces else (empty, empty, empty)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Blocks:
    """Hashes with their bits dealt to contiguous blocks."""

    words: tuple[np.ndarray, ...]  # uint64 (n,) each
    ends: tuple[int, ...]  # first bit of each block, and the number of bits
    chosen: int  # blocks that make a key

    @classmethod
    def deal(cls, hashes: np.ndarray, distance: int) -> _Blocks:
        """Each block gets its share of the bits that vary most."""
        vary = _entropy(hashes)
        chosen = _best_choice(len(hashes), distance, float(vary.sum()))
        count = distance + chosen
        ranked = np.argsort(-vary, kind="stable")
        order = np.concatenate([ranked[block::count] for block in range(count)])
        ends = np.cumsum([0, *(len(ranked[block::count]) for block in range(count))])
        return cls(_reordered(hashes, order), tuple(int(end) for end in ends), chosen)

    @property
    def count(self) -> int:
        return len(self.ends) - 1

    def value(self, block: int, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """uint64: the bits of one block."""
        start, end = self.ends[block], self.ends[block + 1]
        word, offset = divmod(start, 64)
        value = self.words[word][rows] << np.uint64(offset)
        if offset + end - start > 64:
            value |= self.words[word + 1][rows] >> np.uint64(64 - offset)
        return value >> np.uint64(64 - (end - start))

    def keys(self, blocks: Sequence[int], width: int) -> np.ndarray:
        """uint64 (n,) of at most `width` bits: the values of `blocks` side by side, its upper bits cut off."""
        key = self.value(blocks[0])
        for block in blocks[1:]:
            key = key << np.uint64(self.ends[block + 1] - self.ends[block]) | self.value(block)
        return key & np.uint64((1 << width) - 1)

    def differing(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """int64: differing bits of pairs of rows."""
        total = np.zeros(len(first), dtype=np.int64)
        for word in self.words:
            total += np.bitwise_count(word[first] ^ word[second])
        return total

    def first_equal(self, first: np.ndarray, second: np.ndarray, blocks: Sequence[int]) -> np.ndarray:
        """bool: `blocks` are equal in these pairs, and no earlier choice of blocks is: so that a pair is found once."""
        right = np.ones(len(first), dtype=bool)
        for block in range(blocks[-1] + 1):
            right &= (self.value(block, first) == self.value(block, second)) == (block in blocks)
        return right


def _search(hashes: np.ndarray, distance: int, proper: int, depth: int) -> Iterator[Pairs]:
    """`near_pairs` without mirrors; of two rows, the first lies below `proper`."""
    if len(hashes) <= SMALL or depth == DEEPEST:
        yield from _compare_all(hashes, distance, proper)
        return
    blocks = _Blocks.deal(hashes, distance)
    width = 64 - len(hashes).bit_length()
    mask = np.uint64((1 << (64 - width)) - 1)
    for chosen in combinations(range(blocks.count), blocks.chosen):
        packed = blocks.keys(chosen, width) << np.uint64(64 - width) | np.arange(len(hashes), dtype=np.uint64)
        packed.sort()
        rows = (packed & mask).astype(np.int64)
        packed >>= np.uint64(64 - width)
        long_runs = _long_runs(packed)
        for first, second in _in_runs(blocks, packed, rows, distance, proper, long_runs):
            yield from _checked(blocks, first, second, distance, chosen)
        for run in long_runs:
            inside = np.sort(rows[run])
            for first, second, _ in _search(hashes[inside], distance, int(np.searchsorted(inside, proper)), depth + 1):
                yield from _checked(blocks, inside[first], inside[second], distance, chosen)


def _in_runs(
    blocks: _Blocks, keys: np.ndarray, rows: np.ndarray, distance: int, proper: int, long_runs: Sequence[slice]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows within the runs of equal keys (the long ones left out) that are near in the first word."""
    word = blocks.words[0]
    for start in range(0, len(keys), CHUNK):
        stop = min(start + CHUNK, len(keys))
        end = min(stop + LONG_RUN, len(keys))  # a short run that begins before `stop` ends before `end`
        key, row = keys[start:end], rows[start:end]
        light = word[row]
        wanted = np.ones(stop - start, dtype=bool)
        for run in long_runs:
            wanted[max(run.start - start, 0) : max(run.stop - start, 0)] = False
        positions = np.flatnonzero(wanted)
        for shift in range(1, LONG_RUN):
            positions = positions[: np.searchsorted(positions, len(key) - shift)]
            positions = positions[key[positions] == key[positions + shift]]
            if not len(positions):
                break
            near = positions[np.bitwise_count(light[positions] ^ light[positions + shift]) <= distance]
            if len(near):
                first, second = row[near], row[near + shift]
                low, high = np.minimum(first, second), np.maximum(first, second)
                yield low[low < proper], high[low < proper]


def _long_runs(keys: np.ndarray) -> list[slice]:
    far = np.flatnonzero(keys[LONG_RUN - 1 :] == keys[: max(0, len(keys) - LONG_RUN + 1)])
    return [
        slice(int(np.searchsorted(keys, key, "left")), int(np.searchsorted(keys, key, "right")))
        for key in np.unique(keys[far])
    ]


def _checked(
    blocks: _Blocks, first: np.ndarray, second: np.ndarray, distance: int, chosen: Sequence[int]
) -> Iterator[Pairs]:
    bits = blocks.differing(first, second)
    near = bits <= distance
    first, second, bits = first[near], second[near], bits[near]
    first_found = blocks.first_equal(first, second, chosen)
    if first_found.any():
        yield first[first_found], second[first_found], bits[first_found]


def _compare_all(hashes: np.ndarray, distance: int, proper: int) -> Iterator[Pairs]:
    step = max(1, CHUNK // max(1, len(hashes)))
    for start in range(0, min(proper, len(hashes)), step):
        rows = hashes[start : min(start + step, proper)]
        bits = _all_with_all(rows, hashes[start:])
        first, second = np.nonzero((bits <= distance) & (np.arange(bits.shape[1]) > np.arange(len(rows))[:, None]))
        if len(first):
            yield first + start, second + start, bits[first, second].astype(np.int64)


def _all_with_all(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """uint8 (n, m): differing bits."""
    bits = np.bitwise_count(first[:, 0, None] ^ second[None, :, 0])
    for word in range(1, WORDS):
        bits += np.bitwise_count(first[:, word, None] ^ second[None, :, word])
    return bits


def _first_way(first: np.ndarray, second: np.ndarray, distance: int, hashes: np.ndarray, mirrors: np.ndarray) -> Pairs:
    """Pairs of rows of `hashes` followed by `mirrors`, as pairs of images: each kept in the first way in which it is near."""
    count = len(hashes)
    crossed = second >= count
    left, right = first, np.where(crossed, second - count, second)
    low, high = np.minimum(left, right), np.maximum(left, right)
    ways = np.stack(
        [
            differing_bits(hashes[low], hashes[high]),
            differing_bits(hashes[low], mirrors[high]),
            differing_bits(mirrors[low], hashes[high]),
        ]
    )
    way = np.where(crossed, np.where(left == low, 1, 2), 0)
    keep = (low != high) & (np.argmax(ways <= distance, axis=0) == way)
    return low[keep], high[keep], ways.min(axis=0)[keep]


def _entropy(hashes: np.ndarray) -> np.ndarray:
    """float64 (192,): bits of information in each bit of the hashes, from a sample."""
    sample = hashes[:: max(1, len(hashes) // 50_000)]
    share = np.unpackbits(_as_bytes(sample), axis=1).mean(axis=0).clip(1e-9, 1 - 1e-9)
    return np.asarray(-share * np.log2(share) - (1 - share) * np.log2(1 - share))


def _best_choice(count: int, distance: int, information: float) -> int:
    """How many blocks make a key: more of them make shorter runs, but more keys."""

    def cost(chosen: int) -> float:
        run = count / 2 ** min(63.0, information * chosen / (distance + chosen))
        return comb(distance + chosen, chosen) * count * (SORT_COST + COMPARE_COST * run / 2)

    fewest = max(1, FEWEST_BLOCKS - distance)
    possible = [chosen for chosen in range(fewest, 7) if comb(distance + chosen, chosen) <= MOST_KEYS]
    return min(possible, key=cost, default=fewest)


def _reordered(hashes: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, ...]:
    """The words of the hashes with their bits in `order`."""
    words = np.empty((WORDS, len(hashes)), dtype=np.uint64)
    for start in range(0, len(hashes), CHUNK):
        bits = np.unpackbits(_as_bytes(hashes[start : start + CHUNK]), axis=1)[:, order]
        packed = np.ascontiguousarray(np.packbits(bits, axis=1))
        words[:, start : start + CHUNK] = packed.view(">u8").T
    return tuple(words)


def _as_bytes(hashes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(hashes).astype(">u8").view(np.uint8).reshape(len(hashes), -1)
