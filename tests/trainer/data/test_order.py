from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.index import DataError, PairIndex
from trainer.data.order import FALLBACKS, Order, ShardOrder, WeightedMixture, epoch_order


def mixture(pairs: int) -> WeightedMixture:
    return WeightedMixture(np.zeros(pairs, dtype=np.int32), [1.0])


def pairs_of(order: Order | ShardOrder) -> list[list[int]]:
    """Positions in the epoch of the pairs asked for, batch by batch."""
    return [request.pairs[:, 0].tolist() for request in order]


def order(pairs: int, epoch: int, seed: int, *shares: int, **options: int) -> Order:
    return Order(mixture(pairs), seed, *shares, epoch=epoch, **options)


def shard_order(shards: np.ndarray, epoch: int, seed: int, *shares: int, **options: int) -> ShardOrder:
    return ShardOrder(mixture(len(shards)), shards, seed, *shares, epoch=epoch, **options)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("keep_last", [False, True])
def test_every_pair_exactly_once_an_epoch(world, keep_last):
    ranks = [pairs_of(order(100, 3, 7, world, rank, 8, keep_last=keep_last)) for rank in range(world)]
    seen = [number for rank in ranks for batch in rank for number in batch]
    full = 100 // (8 * world) * 8 * world
    assert len(seen) == len(set(seen)) == (100 if keep_last else full)
    assert len({len(rank) for rank in ranks}) == 1
    assert all(len(batch) == 8 for rank in ranks for batch in rank[: full // (8 * world)])


def test_global_batches_do_not_depend_on_the_number_of_ranks():
    alone = pairs_of(order(100, 0, 1, 1, 0, 12))
    for world in (2, 3):
        ranks = [pairs_of(order(100, 0, 1, world, rank, 12 // world)) for rank in range(world)]
        assert [[pair for part in parts for pair in part] for parts in zip(*ranks, strict=True)] == alone


def test_a_start_continues_the_epoch_also_with_another_number_of_ranks():
    epoch = [pair for batch in pairs_of(order(100, 0, 1, 1, 0, 4)) for pair in batch]
    continued = order(100, 0, 1, 2, 1, 6, start=13)
    assert pairs_of(continued)[0] == epoch[19:25]
    assert continued.position(2) == 37
    assert len(continued) == 7
    continued.set_epoch(0)
    assert pairs_of(continued)[0] == epoch[6:12]


def test_epochs_and_seeds_are_orders_of_their_own_and_uniform():
    first = [pairs_of(order(1000, epoch, seed, batch_per_rank=1000))[0] for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    for i in range(3):
        for j in range(i):
            assert abs(np.corrcoef(first[i], first[j])[0, 1]) < 0.1
    assert np.mean(np.array(first)[:, :500]) == pytest.approx(499.5, abs=30)


def test_fallbacks_belong_to_the_pair_whatever_the_batch():
    def fallbacks(ordered: Order) -> dict[int, list[int]]:
        return {pair: rest for request in ordered for pair, *rest in request.pairs.tolist()}

    wide, narrow = fallbacks(order(64, 0, 0, batch_per_rank=16)), fallbacks(order(64, 0, 0, 2, 1, 4))
    assert all(wide[pair] == rest for pair, rest in narrow.items())
    assert len({tuple(rest) for rest in wide.values()}) > 60
    assert all(len(rest) == FALLBACKS for rest in wide.values())


def shards_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_remote_pairs_come_exactly_once_and_ranks_agree_on_the_number_of_batches(world):
    shards = shards_of([20] * 9 + [7])
    ranks = [pairs_of(shard_order(shards, 0, 5, world, rank, 4, keep_last=True)) for rank in range(world)]
    assert sorted(pair for rank in ranks for batch in rank for pair in batch) == list(range(187))
    assert len({len(rank) for rank in ranks}) == 1
    ranks = [pairs_of(shard_order(shards, 0, 5, world, rank, 4)) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    assert all(len(batch) == 4 for rank in ranks for batch in rank)


def test_remote_ranks_read_shards_of_their_own_and_few_at_a_time():
    shards = shards_of([50] * 40)
    ranks = [pairs_of(shard_order(shards, 0, 5, 2, rank, 10, mixed_shards=4)) for rank in range(2)]
    of = [[set(shards[batch].tolist()) for batch in rank] for rank in ranks]
    assert not set.union(*of[0]) & set.union(*of[1])
    uses = {shard: [i for i, batch in enumerate(of[0]) if shard in batch] for shard in set.union(*of[0])}
    open_at_once = [sum(min(places) <= i <= max(places) for places in uses.values()) for i in range(len(of[0]))]
    assert max(open_at_once) <= 6
    assert np.mean([len(batch) for batch in of[0]]) > 3  # and these are mixed


def test_remote_fallbacks_are_of_the_same_shard_and_the_next_shard_is_announced():
    shards = shards_of([30] * 12)
    seen: set[int] = set()
    for request in shard_order(shards, 1, 5, batch_per_rank=5, mixed_shards=3):
        assert (shards[request.pairs] == shards[request.pairs[:, :1]]).all()
        seen |= set(shards[request.pairs[:, 0]].tolist())
        assert request.prefetch is None or request.prefetch not in seen
    assert request.prefetch is None


def test_remote_restart_is_the_rest_of_the_epoch():
    shards = shards_of([20] * 6)
    epoch = pairs_of(shard_order(shards, 0, 5, 2, 1, 4))
    assert pairs_of(shard_order(shards, 0, 5, 2, 1, 4, start=16)) == epoch[2:]
    with pytest.raises(DataError, match="multiple of 2 ranks"):
        shard_order(shards, 0, 5, 2, 1, 4, start=15)
    with pytest.raises(DataError, match="3 ranks need"):
        shard_order(shards_of([5, 5]), 0, 5, 3, 1, 4)


def test_weights_give_complete_copies_and_a_share_that_moves_on(publish):
    index = PairIndex.open([publish(30)], weights={"laion": 1.5, "wukong": 2})  # 20 and 10 pairs
    weighted = WeightedMixture.of(index)
    assert weighted.num_pairs == 20 + 10 + 20
    epochs = [Counter(weighted.rows(np.arange(50), epoch).tolist()) for epoch in (0, 1)]
    source = index.source.to_pylist()
    for counts in epochs:
        assert all(counts[row] == 2 for row in range(30) if source[row] == "wukong")
        assert sorted(counts[row] for row in range(30) if source[row] == "laion") == [1] * 10 + [2] * 10
    assert all((epochs[0] + epochs[1])[row] == 3 for row in range(30) if source[row] == "laion")


def test_a_weight_of_nothing_leaves_a_source_out(publish):
    folder = publish(30)
    index = PairIndex.open([folder], weights={"wukong": 0})
    weighted = WeightedMixture.of(index)
    rows = weighted.rows(np.arange(weighted.num_pairs), 0)
    assert {index.source[int(row)].as_py() for row in rows} == {"laion"}
    assert len(epoch_order(index, 0, 0, batch_per_rank=1)) == 20
    with pytest.raises(DataError, match="leave no pair"):
        WeightedMixture.of(PairIndex.open([folder], weights={"wukong": 0, "laion": 0}))


SHAPES = {
    "pairs": st.integers(1, 300),
    "epoch": st.integers(0, 1_000),
    "seed": st.integers(0, 2**31),
    "batch": st.integers(1, 40),
    "worlds": st.tuples(st.integers(1, 5), st.integers(1, 5)),
    "steps": st.integers(0, 10),
}


@settings(max_examples=60, deadline=None)
@given(**SHAPES)
def test_any_restart_with_any_number_of_ranks_completes_the_epoch(pairs, epoch, seed, batch, worlds, steps):
    before = [order(pairs, epoch, seed, worlds[0], rank, batch, keep_last=True) for rank in range(worlds[0])]
    start = before[0].position(min(steps, len(before[0])))
    after = [
        order(pairs, epoch, seed, worlds[1], rank, batch, start=start, keep_last=True) for rank in range(worlds[1])
    ]
    taken = [pair for ranked in before for batch in pairs_of(ranked)[:steps] for pair in batch]
    taken += [pair for ranked in after for batch in pairs_of(ranked) for pair in batch]
    assert sorted(taken) == list(range(pairs))
    assert {len(pairs_of(ranked)) for ranked in after} == {len(after[0])}
    assert after[0].position(len(after[0])) == pairs


@settings(max_examples=60, deadline=None)
@given(**SHAPES)
def test_a_batch_is_the_same_whatever_the_number_of_ranks(pairs, epoch, seed, batch, worlds, steps):
    split = [pairs_of(order(pairs, epoch, seed, worlds[0], rank, batch, start=steps)) for rank in range(worlds[0])]
    joined = pairs_of(order(pairs, epoch, seed, 1, 0, batch * worlds[0], start=steps))
    assert [[pair for part in parts for pair in part] for parts in zip(*split, strict=True)] == joined


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=3, max_size=20), **SHAPES)
def test_any_remote_restart_completes_the_epoch(sizes, pairs, epoch, seed, batch, worlds, steps):
    world = min(worlds[0], 3)
    shards = np.random.default_rng(pairs).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    taken = []
    for rank in range(world):
        complete = shard_order(shards, epoch, seed, world, rank, batch, keep_last=True)
        batches = pairs_of(complete)
        assert len(batches) == len(complete)
        rest = shard_order(shards, epoch, seed, world, rank, batch, start=complete.position(steps), keep_last=True)
        assert pairs_of(rest) == batches[steps:]
        taken += [pair for batch in batches for pair in batch]
    assert sorted(taken) == list(range(len(shards)))


@settings(max_examples=60, deadline=None)
@given(
    sources=st.lists(st.integers(0, 2), min_size=1, max_size=60),
    weights=st.lists(st.sampled_from([0, 0.25, 0.5, 1, 1.5, 2, 3.75]), min_size=3, max_size=3),
    epoch=st.integers(0, 10),
)
def test_four_epochs_give_each_pair_its_weight_four_times(sources, weights, epoch):
    codes = np.array(sources)
    counts = [sources.count(source) for source in range(3)]
    if not any(count and round(weight * count) for count, weight in zip(counts, weights, strict=True)):
        with pytest.raises(DataError, match="leave no pair"):
            WeightedMixture(codes, weights)
        return
    weighted = WeightedMixture(codes, weights)
    epochs = [Counter(weighted.rows(np.arange(weighted.num_pairs), epoch + i).tolist()) for i in range(4)]
    for row, source in enumerate(sources):
        copies, share = divmod(weights[source], 1)
        assert {seen[row] - copies for seen in epochs} <= {0, 1}
        if share * counts[source] == round(share * counts[source]):
            assert sum(seen[row] for seen in epochs) == 4 * weights[source]
