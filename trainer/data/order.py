"""In what order pairs come: every pair once an epoch, over all ranks, from any position on, by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from trainer.data.index import DataError, PairIndex

FALLBACKS = 4
"""Pairs that may replace a pair whose image is broken."""
MIXED_SHARDS = 8
"""Remote shards whose pairs are shuffled with one another."""


class Request(NamedTuple):
    """A batch of one rank, to be made. Column 0 is the pair asked for, the others are its fallbacks in turn."""

    rows: np.ndarray  # int64 [B, 1 + FALLBACKS]: rows of the index
    pairs: np.ndarray  # int64 [B, 1 + FALLBACKS]: positions in the epoch, which decide how a pair is augmented
    epoch: int
    seed: int
    prefetch: int | None = None  # the remote shard that will be needed next


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
    permuted = np.arange(rows, dtype=np.uint32 if rows < 1 << 32 else np.int64)
    np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).shuffle(permuted)
    return permuted


class _Block(NamedTuple):
    first: int  # position in an epoch of the first pair of a source
    rows: np.ndarray  # int64: the source's rows of the index
    copied: int  # pairs of an epoch that come from complete copies of the source
    sampled: int  # pairs that come once more, others in each epoch


class WeightedMixture:
    """Which row of the index each pair of an epoch is, by the weights of sources.

    A source of weight w has each of its pairs floor(w) times in an epoch, and a share w - floor(w) of its pairs once more.
    Which pairs come once more changes from epoch to epoch, in the order of rows, until each had its turn. (Rows lie in the
    order of keys, and keys are hashes: consecutive rows are a random sample.) All epochs are equally long.

    Raises:
        DataError: the weights leave no pair.
    """

    def __init__(self, sources: np.ndarray, weights: Sequence[float]) -> None:
        """`sources` (integers [rows]) are positions in `weights` (each ≥ 0)."""
        self.num_pairs = len(sources)
        self._blocks: list[_Block] = []
        if all(weight == 1 for weight in weights):
            return
        self.num_pairs = 0
        for source, weight in enumerate(weights):
            rows = np.flatnonzero(sources == source)
            sampled = round((weight - int(weight)) * len(rows))
            self._blocks.append(_Block(self.num_pairs, rows, int(weight) * len(rows), sampled))
            self.num_pairs += int(weight) * len(rows) + sampled
        if not self.num_pairs:
            raise DataError(f"weights {', '.join(map(str, weights))} leave no pair")

    @classmethod
    def of(cls, index: PairIndex) -> WeightedMixture:
        """The mixture of an index with its own weights, 1 where it has none."""
        weights: Mapping[str, float] = index.weights
        names = index.source.dictionary.to_pylist()
        return cls(np.asarray(index.source.indices), [weights.get(name, 1.0) for name in names])

    def rows(self, pairs: np.ndarray, epoch: int) -> np.ndarray:
        """int64 rows of the index of `pairs`, positions in `epoch` (int64, any shape, below num_pairs)."""
        if not self._blocks:
            return pairs
        block_of_pair = np.searchsorted([block.first for block in self._blocks], pairs, side="right") - 1
        rows = np.empty_like(pairs)
        for i, block in enumerate(self._blocks):
            position = pairs[block_of_pair == i] - block.first
            position = np.where(position < block.copied, position, position + epoch * block.sampled)
            rows[block_of_pair == i] = block.rows[position % len(block.rows)]
        return rows


@dataclass(eq=False)
class Order(Sampler[Request]):
    """The batches of one rank in an epoch: all pairs permuted, cut into global batches, each of them divided among ranks.

    A global batch therefore consists of the same pairs, in the same order, whatever the number of ranks. `start` need not
    be a multiple of the batch. What does not fill a global batch at the end is left out, other pairs in every epoch; with
    `keep_last` it comes as a smaller batch, in which a rank may have no pair at all.
    """

    mixture: WeightedMixture
    seed: int
    world: int = 1
    rank: int = 0
    batch_per_rank: int = 32
    epoch: int = 0
    start: int = 0  # pairs of this epoch that all ranks together have consumed
    keep_last: bool = False

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Go to a position in an epoch; any `start`."""
        self.epoch, self.start = epoch, start

    @property
    def global_batch(self) -> int:
        """Pairs in a step, over all ranks."""
        return self.world * self.batch_per_rank

    def __len__(self) -> int:
        left = max(self.mixture.num_pairs - self.start, 0)
        return -(-left // self.global_batch) if self.keep_last else left // self.global_batch

    def position(self, batches: int) -> int:
        """Pairs of this epoch consumed by all ranks after `batches` further batches: the `start` of a continuation."""
        return max(self.start, min(self.start + batches * self.global_batch, self.mixture.num_pairs))

    def __iter__(self) -> Iterator[Request]:
        num_pairs = self.mixture.num_pairs
        permuted = permutation(num_pairs, self.seed, self.epoch)
        for batch in range(len(self)):
            of_all_ranks = permuted[self.position(batch) : self.position(batch + 1)]
            share = -(-len(of_all_ranks) // self.world)  # batch_per_rank, but in a last, smaller batch
            pairs = of_all_ranks[self.rank * share : (self.rank + 1) * share].astype(np.int64)[:, None]
            fallbacks = hashed(self.seed, self.epoch, pairs, np.arange(FALLBACKS)) % np.uint64(num_pairs)
            yield _request(self, pairs, fallbacks.reshape(len(pairs), FALLBACKS).astype(np.int64))


@dataclass(eq=False)
class ShardOrder(Sampler[Request]):
    """As `Order`, for shards that are read from end to end: shards in shuffled order, dealt out to ranks, a few mixed at a
    time.

    Limits against `Order`: pairs are shuffled among `mixed_shards` shards, not among all; ranks read different shards, so
    which pairs meet in a global batch depends on the number of ranks, and a restart needs that number unchanged; the epoch
    ends with the rank that has the fewest pairs, so up to about one shard a rank may be left out.

    Raises:
        DataError: fewer shards than ranks, or a start that is no multiple of the number of ranks.
    """

    mixture: WeightedMixture
    tars: np.ndarray  # int32 [rows of the index]: the shard of each
    seed: int
    world: int = 1
    rank: int = 0
    batch_per_rank: int = 32
    epoch: int = 0
    start: int = 0
    keep_last: bool = False
    mixed_shards: int = MIXED_SHARDS

    def __post_init__(self) -> None:
        self.set_epoch(self.epoch, self.start)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Go to a position in an epoch; `start` is a multiple of the number of ranks."""
        if start % self.world:
            raise DataError(f"remote pairs go on from a multiple of {self.world} ranks; found start {start:,}")
        self.epoch, self.start = epoch, start
        self.__dict__.pop("shards", None)
        if (shards := len(np.unique(self.shards))) < self.world:
            raise DataError(f"{self.world} ranks need at least as many remote shards; found {shards}")

    @cached_property
    def shards(self) -> np.ndarray:
        """int32 [pairs of this epoch]: the shard of each."""
        return self.tars[self.mixture.rows(np.arange(self.mixture.num_pairs), self.epoch)]

    @property
    def global_batch(self) -> int:
        """Pairs in a step, over all ranks."""
        return self.world * self.batch_per_rank

    def __len__(self) -> int:
        left = [max(int(pairs) - self.start // self.world, 0) for pairs in self._deal()[1]]
        return -(-max(left) // self.batch_per_rank) if self.keep_last else min(left) // self.batch_per_rank

    def position(self, batches: int) -> int:
        """Pairs of this epoch consumed after `batches` further batches: the `start` of a continuation."""
        return self.start + batches * self.global_batch

    def __iter__(self) -> Iterator[Request]:
        by_shard, ends = np.argsort(self.shards, kind="stable"), np.cumsum(np.bincount(self.shards))
        sequence, first_uses, used = self._sequence(by_shard, ends)
        for batch in range(len(self)):
            begin = self.position(batch) // self.world
            pairs = sequence[begin : begin + self.batch_per_rank][:, None]
            shard = self.shards[pairs]  # fallbacks are of the same shard: that is here
            counts = ends[shard] - np.where(shard, ends[shard - 1], 0)
            chosen = hashed(self.seed, self.epoch, pairs, np.arange(FALLBACKS)) % counts.astype(np.uint64)
            fallbacks = by_shard[ends[shard] - 1 - chosen.reshape(len(pairs), FALLBACKS).astype(np.int64)]
            following = int(np.searchsorted(first_uses, begin + self.batch_per_rank))
            yield _request(self, pairs, fallbacks, int(used[following]) if following < len(used) else None)

    def _deal(self) -> tuple[list[list[int]], np.ndarray]:
        """The shards of each rank, in order, and int64 [world]: how many pairs those are."""
        counts = np.bincount(self.shards)
        hands: list[list[int]] = [[] for _ in range(self.world)]
        pairs = np.zeros(self.world, dtype=np.int64)
        for shard in permutation(len(counts), self.seed, self.epoch).tolist():
            if counts[shard]:
                poorest = int(pairs.argmin())
                hands[poorest].append(shard)
                pairs[poorest] += counts[shard]
        return hands, pairs

    def _sequence(self, by_shard: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 pairs of this rank in order; sorted positions at which a shard is first used; and which shards those are.

        The pairs of the i-th shard are spread over the time from i to i + mixed_shards, counted in shards. Before the
        first mixed_shards, and after the last, there is less to mix with: all pairs of those times are shuffled as one.
        """
        hand = np.array(self._deal()[0][self.rank])
        starts = np.where(hand, ends[hand - 1], 0)
        pairs = np.concatenate([by_shard[start : ends[shard]] for start, shard in zip(starts, hand, strict=True)])
        turn = np.repeat(np.arange(len(hand)), ends[hand] - starts)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, self.epoch, self.rank, 1])))
        time, reshuffled = turn + self.mixed_shards * rng.random(len(pairs)), rng.random(len(pairs))
        time = np.where(time < self.mixed_shards, self.mixed_shards * reshuffled, time)
        late = time >= max(len(hand), self.mixed_shards)
        order = np.argsort(np.where(late, len(hand) + self.mixed_shards * (1 + reshuffled), time), kind="stable")
        first_uses = np.full(len(hand), len(order))
        np.minimum.at(first_uses, turn[order], np.arange(len(order)))
        by_use = np.argsort(first_uses, kind="stable")
        return pairs[order].astype(np.int64), first_uses[by_use], hand[by_use]


def _request(
    order: Order | ShardOrder, pairs: np.ndarray, fallbacks: np.ndarray, prefetch: int | None = None
) -> Request:
    columns = np.concatenate([pairs, fallbacks], axis=1)
    return Request(order.mixture.rows(columns, order.epoch), columns, order.epoch, order.seed, prefetch)


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
    """The order of `index`, weights included: an `Order` for local folders, a `ShardOrder` for remote ones."""
    mixture = WeightedMixture.of(index)
    if not index.remote:
        return Order(mixture, seed, world, rank, batch_per_rank, epoch, start, keep_last)
    return ShardOrder(mixture, index.tar, seed, world, rank, batch_per_rank, epoch, start, keep_last)
