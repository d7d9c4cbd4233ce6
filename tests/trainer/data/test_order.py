from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from trainer.data.index import DataError, PairIndex
from trainer.data.order import SPARES, Mixture, Order, ShardOrder, epoch_order


def taken(order) -> list[list[int]]:
    return [rows.numbers.tolist() for rows in order]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("keep_last", [False, True])
def test_every_pair_exactly_once_an_epoch(world, keep_last):
    ranks = [taken(Order(100, 3, 7, world, rank, 8, keep_last=keep_last)) for rank in range(world)]
    seen = [number for rank in ranks for batch in rank for number in batch]
    whole = 100 // (8 * world) * 8 * world
    assert len(seen) == len(set(seen)) == (100 if keep_last else whole)
    assert len({len(rank) for rank in ranks}) == 1
    assert all(len(batch) == 8 for rank in ranks for batch in rank[: whole // (8 * world)])


def test_global_batches_do_not_depend_on_the_number_of_ranks():
    alone = taken(Order(100, 0, 1, 1, 0, 12))
    for world in (2, 3):
        ranks = [taken(Order(100, 0, 1, world, rank, 12 // world)) for rank in range(world)]
        assert [[n for part in parts for n in part] for parts in zip(*ranks, strict=True)] == alone


def test_a_start_continues_the_epoch_also_with_another_number_of_ranks():
    whole = [number for batch in taken(Order(100, 0, 1, 1, 0, 4)) for number in batch]
    order = Order(100, 0, 1, 2, 1, 6, start=13)
    assert taken(order)[0] == whole[19:25]
    assert order.position(2) == 37
    assert len(order) == 7


def test_epochs_and_seeds_are_orders_of_their_own_and_uniform():
    first = [taken(Order(1000, epoch, seed, batch_per_rank=1000))[0] for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    for i in range(3):
        for j in range(i):
            assert abs(np.corrcoef(first[i], first[j])[0, 1]) < 0.1
    assert np.mean(np.array(first)[:, :500]) == pytest.approx(499.5, abs=30)


def test_spares_belong_to_the_pair_whatever_the_batch():
    wide = {n: s.tolist() for rows in Order(64, 0, 0, batch_per_rank=16) for n, s in zip(*rows[:2], strict=True)}
    narrow = {n: s.tolist() for rows in Order(64, 0, 0, 2, 1, 4) for n, s in zip(*rows[:2], strict=True)}
    assert all(wide[number] == spares for number, spares in narrow.items())
    assert len({tuple(spares) for spares in wide.values()}) > 60
    assert all(len(spares) == SPARES for spares in wide.values())


def shards_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_remote_pairs_come_exactly_once_and_ranks_agree_on_the_number_of_batches(world):
    shards = shards_of([20] * 9 + [7])
    ranks = [taken(ShardOrder(shards, 0, 5, world, rank, 4, keep_last=True)) for rank in range(world)]
    assert sorted(n for rank in ranks for batch in rank for n in batch) == list(range(187))
    assert len({len(rank) for rank in ranks}) == 1
    ranks = [taken(ShardOrder(shards, 0, 5, world, rank, 4)) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    assert all(len(batch) == 4 for rank in ranks for batch in rank)


def test_remote_ranks_read_shards_of_their_own_and_few_at_a_time():
    shards = shards_of([50] * 40)
    ranks = [taken(ShardOrder(shards, 0, 5, 2, rank, 10, mixed_shards=4)) for rank in range(2)]
    of = [[set(shards[batch].tolist()) for batch in rank] for rank in ranks]
    assert not set.union(*of[0]) & set.union(*of[1])
    uses = {shard: [i for i, batch in enumerate(of[0]) if shard in batch] for shard in set.union(*of[0])}
    open_at_once = [sum(min(places) <= i <= max(places) for places in uses.values()) for i in range(len(of[0]))]
    assert max(open_at_once) <= 6
    assert np.mean([len(batch) for batch in of[0]]) > 3  # and these are mixed


def test_remote_spares_are_of_the_same_shard_and_the_next_shard_is_announced():
    shards = shards_of([30] * 12)
    seen: set[int] = set()
    for rows in ShardOrder(shards, 1, 5, batch_per_rank=5, mixed_shards=3):
        assert (shards[rows.spares] == shards[rows.numbers][:, None]).all()
        seen |= set(shards[rows.numbers].tolist())
        assert rows.ahead is None or rows.ahead not in seen
    assert rows.ahead is None


def test_remote_restart_is_the_rest_of_the_epoch():
    shards = shards_of([20] * 6)
    whole = taken(ShardOrder(shards, 0, 5, 2, 1, 4))
    assert taken(ShardOrder(shards, 0, 5, 2, 1, 4, start=16)) == whole[2:]
    with pytest.raises(DataError, match="multiple of 2 ranks"):
        ShardOrder(shards, 0, 5, 2, 1, 4, start=15)
    with pytest.raises(DataError, match="3 ranks need"):
        ShardOrder(shards_of([5, 5]), 0, 5, 3, 1, 4)


def test_weights_give_whole_copies_and_a_share_that_moves_on(publish):
    index = PairIndex.open([publish(30)], weights={"laion": 1.5, "wukong": 2})  # 20 and 10 pairs
    mixture = Mixture(index)
    assert mixture.num_rows == 20 + 10 + 20
    epochs = [Counter(mixture.rows(np.arange(50), epoch).tolist()) for epoch in (0, 1)]
    source = index.source.to_pylist()
    for counts in epochs:
        assert all(counts[row] == 2 for row in range(30) if source[row] == "wukong")
        assert sorted(counts[row] for row in range(30) if source[row] == "laion") == [1] * 10 + [2] * 10
    assert all((epochs[0] + epochs[1])[row] == 3 for row in range(30) if source[row] == "laion")


def test_a_weight_of_nothing_leaves_a_source_out(publish):
    folder = publish(30)
    index = PairIndex.open([folder], weights={"wukong": 0})
    rows = Mixture(index).rows(np.arange(Mixture(index).num_rows), 0)
    assert {index.source[int(row)].as_py() for row in rows} == {"laion"}
    assert len(epoch_order(index, 0, 0, batch_per_rank=1)) == 20
    with pytest.raises(DataError, match="leave no pair"):
        Mixture(PairIndex.open([folder], weights={"wukong": 0, "laion": 0}))
