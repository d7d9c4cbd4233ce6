"""In what order pairs come: every pair once an epoch, over all ranks, from any place on, as a function of seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trainer.data.index import DataError, PairIndex

SPARES = 4
"""Pairs that stand by for a pair whose image is broken."""
MIXED_SHARDS = 8
"""Remote shards whose pairs are shuffled with one another."""


class Rows(NamedTuple):
    """What a rank takes in one step. Numbers count the pairs of an epoch; `Mixture` says which row of the index each is."""

    numbers: np.ndarray  # int64 [B]
    spares: np.ndarray  # int64 [B, SPARES]: replacements, should an image be broken
    ahead: int | None = None  # the next remote shard that will be needed


def hashed(*parts: int | np.ndarray) -> np.ndarray:
    """uint64 array, at least one-dimensional: `parts`, broadcast, hashed by the splitmix64 finaliser (Steele and others,
    OOPSLA 2014). The same on every machine, and for each element alone, whatever lies beside it."""
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        state = (state ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """A uniform permutation of 0 … rows-1: uint32 where that is enough (0.8 GB for 200 million), else int64."""
    numbers = np.arange(rows, dtype=np.uint32 if rows < 1 << 32 else np.int64)
    np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).shuffle(numbers)
    return numbers


@dataclass(frozen=True, eq=False)
class Order:
    """The pairs that a rank takes in an epoch: all pairs permuted, cut into global batches, and each of those over ranks.

    A global batch therefore consists of the same pairs, in the same order, whatever the number of ranks. `start` may be
    any number of pairs. What does not fill a global batch at the end is left out, other pairs in every epoch; with
    `keep_last` it comes as a smaller batch, in which a rank may have no pair at all.
    """

    num_rows: int
    epoch: int
    seed: int
    world: int = 1
    rank: int = 0
    batch_per_rank: int = 32
    start: int = 0  # pairs of this epoch that all ranks together have consumed
    keep_last: bool = False

    @property
    def global_batch(self) -> int:
        """Pairs in a step, over all ranks."""
        return self.world * self.batch_per_rank

    def __len__(self) -> int:
        left = max(self.num_rows - self.start, 0)
        return -(-left // self.global_batch) if self.keep_last else left // self.global_batch

    def position(self, batches: int) -> int:
        """Pairs of this epoch consumed by all ranks after `batches` further batches: the `start` of a continuation."""
        return max(self.start, min(self.start + batches * self.global_batch, self.num_rows))

    def __iter__(self) -> Iterator[Rows]:
        numbers = permutation(self.num_rows, self.seed, self.epoch)
        for batch in range(len(self)):
            whole = numbers[self.position(batch) : self.position(batch + 1)]
            share = -(-len(whole) // self.world)  # of a whole batch exactly batch_per_rank
            mine = whole[self.rank * share : (self.rank + 1) * share].astype(np.int64)
            chosen = hashed(self.seed, self.epoch, mine[:, None], np.arange(SPARES)) % np.uint64(self.num_rows)
            yield Rows(mine, chosen.reshape(len(mine), SPARES).astype(np.int64))


@dataclass(frozen=True, eq=False)
class ShardOrder:
    """As `Order`, for shards that are read whole: shards in shuffled order, dealt out to ranks, a few mixed at a time.

    Limits against `Order`: pairs are shuffled among `mixed_shards` shards, not among all; ranks read shards of their own,
    so which pairs meet in a global batch depends on the number of ranks, and a restart needs that number unchanged; the
    epoch ends with the rank that has the fewest pairs, so up to about one shard a rank may be left out.

    Raises:
        DataError: fewer shards than ranks, or a start that is no multiple of the number of ranks.
    """

    shards: np.ndarray  # int32 [num_rows]: the shard of each pair of the epoch
    epoch: int
    seed: int
    world: int = 1
    rank: int = 0
    batch_per_rank: int = 32
    start: int = 0
    keep_last: bool = False
    mixed_shards: int = MIXED_SHARDS

    def __post_init__(self) -> None:
        if self.start % self.world:
            raise DataError(f"remote pairs go on from a multiple of {self.world} ranks; found start {self.start:,}")
        if (shards := len(np.unique(self.shards))) < self.world:
            raise DataError(f"{self.world} ranks need at least as many remote shards; found {shards}")

    @property
    def global_batch(self) -> int:
        """Pairs in a step, over all ranks."""
        return self.world * self.batch_per_rank

    def __len__(self) -> int:
        left = [max(int(rows) - self.start // self.world, 0) for rows in self._dealt()[1]]
        return -(-max(left) // self.batch_per_rank) if self.keep_last else min(left) // self.batch_per_rank

    def position(self, batches: int) -> int:
        """Pairs of this epoch consumed after `batches` further batches: the `start` of a continuation."""
        return self.start + batches * self.global_batch

    def __iter__(self) -> Iterator[Rows]:
        by_shard, ends = np.argsort(self.shards, kind="stable"), np.cumsum(np.bincount(self.shards))
        numbers, first_uses, used = self._sequence(by_shard, ends)
        for batch in range(len(self)):
            begin = self.position(batch) // self.world
            mine = numbers[begin : begin + self.batch_per_rank]
            shard = self.shards[mine]
            counts = (ends[shard] - np.where(shard, ends[shard - 1], 0))[
                :, None
            ]  # a spare is of the same shard: that is here
            places = hashed(self.seed, self.epoch, mine[:, None], np.arange(SPARES)) % counts.astype(np.uint64)
            spares = by_shard[(ends[shard][:, None] - 1 - places.reshape(len(mine), SPARES).astype(np.int64))]
            following = int(np.searchsorted(first_uses, begin + self.batch_per_rank))
            yield Rows(mine, spares, int(used[following]) if following < len(used) else None)

    def _dealt(self) -> tuple[list[list[int]], np.ndarray]:
        """The shards of each rank, in order, and int64 [world]: how many pairs those are."""
        counts = np.bincount(self.shards)
        mine: list[list[int]] = [[] for _ in range(self.world)]
        rows = np.zeros(self.world, dtype=np.int64)
        for shard in permutation(len(counts), self.seed, self.epoch).tolist():
            if counts[shard]:
                least = int(rows.argmin())
                mine[least].append(shard)
                rows[least] += counts[shard]
        return mine, rows

    def _sequence(self, by_shard: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 pairs of this rank in order; sorted places at which a shard is first used; and which shards those are.

        The pairs of the i-th shard are spread over the time from i to i + mixed_shards, counted in shards. Before the
        first mixed_shards, and after the last, there is less to mix with: all pairs of those times are shuffled as one.
        """
        mine = np.array(self._dealt()[0][self.rank])
        starts = np.where(mine, ends[mine - 1], 0)
        numbers = np.concatenate([by_shard[start : ends[shard]] for start, shard in zip(starts, mine, strict=True)])
        turn = np.repeat(np.arange(len(mine)), ends[mine] - starts)
        chance = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, self.epoch, self.rank, 1])))
        time, again = turn + self.mixed_shards * chance.random(len(numbers)), chance.random(len(numbers))
        time = np.where(time < self.mixed_shards, self.mixed_shards * again, time)
        late = time >= max(len(mine), self.mixed_shards)
        order = np.argsort(np.where(late, len(mine) + self.mixed_shards * (1 + again), time), kind="stable")
        first_uses = np.full(len(mine), len(order))
        np.minimum.at(first_uses, turn[order], np.arange(len(order)))
        by_use = np.argsort(first_uses, kind="stable")
        return numbers[order].astype(np.int64), first_uses[by_use], mine[by_use]


class _Block(NamedTuple):
    first: int  # number of the first pair of a source in an epoch
    rows: np.ndarray  # int64: its rows of the index
    whole: int  # pairs that come from whole copies of the source
    more: int  # and those once more


class Mixture:
    """How often the pairs of each source come in an epoch.

    A weight of w gives every pair of the source floor(w) times, and a share of w - floor(w) of them once more. That share
    moves on from epoch to epoch until all pairs have had their turn; since keys are hashes, and rows lie in key order, it
    is a random sample. Epochs have equal length.
    """

    def __init__(self, index: PairIndex) -> None:
        weights = {source: index.weights.get(source, 1.0) for source in index.source.dictionary.to_pylist()}
        self.num_rows = len(index)
        self._blocks: list[_Block] = []
        if all(weight == 1 for weight in weights.values()):
            return
        self.num_rows, codes = 0, np.asarray(index.source.indices)
        for code, weight in enumerate(weights.values()):
            rows = np.flatnonzero(codes == code)
            more = round((weight - int(weight)) * len(rows))
            self._blocks.append(_Block(self.num_rows, rows, int(weight) * len(rows), more))
            self.num_rows += int(weight) * len(rows) + more
        if not self.num_rows:
            raise DataError(f"weights {dict(index.weights)} leave no pair")

    def rows(self, numbers: np.ndarray, epoch: int) -> np.ndarray:
        """int64 rows of the index of the pairs with these `numbers` (int64, any shape, below num_rows) in `epoch`."""
        if not self._blocks:
            return numbers
        block = np.searchsorted([one.first for one in self._blocks], numbers, side="right") - 1
        found = np.empty_like(numbers)
        for i, one in enumerate(self._blocks):
            place = numbers[block == i] - one.first
            place = np.where(place < one.whole, place, place + epoch * one.more)
            found[block == i] = one.rows[place % len(one.rows)]
        return found


def epoch_order(
    index: PairIndex,
    epoch: int,
    seed: int,
    world: int = 1,
    rank: int = 0,
    batch_per_rank: int = 32,
    start: int = 0,
    keep_last: bool = False,
) -> Order | ShardOrder:
    """The order of an epoch of `index`, weights included: an `Order` for local folders, a `ShardOrder` for remote ones."""
    mixture = Mixture(index)
    if not index.remote:
        return Order(mixture.num_rows, epoch, seed, world, rank, batch_per_rank, start, keep_last)
    shards = index.tar[mixture.rows(np.arange(mixture.num_rows), epoch)]
    return ShardOrder(shards, epoch, seed, world, rank, batch_per_rank, start, keep_last)
