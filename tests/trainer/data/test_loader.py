from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import torch

from trainer.data import shards as shards_module
from trainer.data.index import DataError, PairIndex
from trainer.data.loader import Batch, LoaderConfig, PairLoader
from trainer.data.order import epoch_order
from trainer.data.shards import ShardError


def batches(index: PairIndex, workers: int = 0, epoch: int = 0, **order) -> list[Batch]:
    loader = PairLoader(index, epoch_order(index, epoch, 0, **order), LoaderConfig(24, workers=workers))
    try:
        return list(loader)
    finally:
        loader.close()


def same(first: list[Batch], second: list[Batch]) -> bool:
    assert len(first) == len(second)
    return all(
        a.keys == b.keys
        and a.skipped == b.skipped
        and torch.equal(a.images, b.images)
        and torch.equal(a.tokens, b.tokens)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_pair_once_for_any_number_of_ranks_and_workers(publish, workers):
    index = PairIndex.open([publish(50, shards=3)])
    for world in (1, 2, 3):
        ranks = [batches(index, workers, world=world, rank=r, batch_per_rank=4, keep_last=True) for r in range(world)]
        assert sorted(key for rank in ranks for batch in rank for key in batch.keys) == index.key.to_pylist()
        assert len({len(rank) for rank in ranks}) == 1


def test_tensors_are_equal_bit_for_bit_for_any_number_of_workers_and_ranks(publish):
    index = PairIndex.open([publish(48, shards=2, broken=(5, 31))])
    alone = batches(index, 0, batch_per_rank=12)
    assert same(alone, batches(index, 1, batch_per_rank=12))
    assert same(alone, batches(index, 2, batch_per_rank=12))
    ranks = [batches(index, 0, world=2, rank=rank, batch_per_rank=6) for rank in range(2)]
    for batch, *parts in zip(alone, *ranks, strict=True):
        assert torch.equal(batch.images, torch.cat([part.images for part in parts]))


def test_a_restart_is_the_rest_of_the_undisturbed_epoch(publish):
    index = PairIndex.open([publish(60, broken=(11,))])
    loader = PairLoader(index, epoch_order(index, 2, 0, batch_per_rank=8), LoaderConfig(24, workers=2))
    undisturbed, positions = [], []
    for batch in loader:
        undisturbed.append(batch)
        positions.append(loader.position)
    loader.close()
    assert positions == [8, 16, 24, 32, 40, 48, 56]
    assert same(undisturbed[3:], batches(index, 1, epoch=2, batch_per_rank=8, start=positions[2]))


def test_a_loader_goes_through_several_epochs_and_may_be_left_early(publish):
    index = PairIndex.open([publish(40)])
    loader = PairLoader(index, epoch_order(index, 0, 0, batch_per_rank=8), LoaderConfig(24, workers=2))
    iterator = iter(loader)
    next(iterator)
    assert loader.position == 8
    first = list(loader)
    loader.order.set_epoch(1)
    second = list(loader)
    loader.close()
    assert same(first, batches(index, epoch=0, batch_per_rank=8))
    assert same(second, batches(index, epoch=1, batch_per_rank=8))
    assert not same(first, second)


def test_images_and_texts_are_those_of_the_pair(publish):
    index = PairIndex.open([publish(12)])
    loader = PairLoader(index, epoch_order(index, 0, 0, batch_per_rank=4), LoaderConfig(24, augment=None, workers=0))
    pairs = {
        key: (image, text)
        for batch in loader
        for key, image, text in zip(batch.keys, batch.images, batch.tokens, strict=True)
    }
    loader.order.set_epoch(5)
    assert len(pairs) == 12
    for batch in loader:
        assert batch.images.shape == (4, 3, 24, 24)
        assert batch.images.dtype == torch.float32
        assert batch.tokens.dtype == torch.int64
        for key, image, text in zip(batch.keys, batch.images, batch.tokens, strict=True):
            assert torch.equal(image, pairs[key][0])
            assert text[text > 0].tolist() == pairs[key][1][pairs[key][1] > 0].tolist()


def test_a_copy_of_a_pair_and_another_epoch_are_augmented_anew(publish):
    index = PairIndex.open([publish(6)], weights={"laion": 2, "wukong": 2})
    (batch,) = batches(index, batch_per_rank=12)
    for key in set(batch.keys):
        first, second = (i for i, other in enumerate(batch.keys) if other == key)
        assert not torch.equal(batch.images[first], batch.images[second])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_replaced_and_named_and_no_batch_gets_smaller(publish, workers):
    index = PairIndex.open([publish(40, shards=2, broken=(7, 8, 20))])
    intact = PairIndex.open([publish(40, shards=2, name="intact")])
    key_of = dict(zip(index.caption.to_pylist(), index.key.to_pylist(), strict=True))
    loaded = batches(index, workers, batch_per_rank=10)
    assert [len(batch) for batch in loaded] == [10] * 4
    assert [tuple(batch.images.shape) for batch in loaded] == [(10, 3, 24, 24)] * 4
    skipped = dict(error for batch in loaded for error in batch.skipped)
    assert set(skipped) == {key_of[f"图片{i}"] for i in (7, 8, 20)}
    assert all("truncated" in message.lower() or "no image" in message for message in skipped.values())
    assert not any(batch.skipped for batch in batches(intact, workers, batch_per_rank=10))
    assert not set(skipped) & {key for batch in loaded for key in batch.keys}
    assert all(len(batch.tokens) == 10 for batch in loaded)


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_images_is_an_error_not_a_hang(publish, workers):
    index = PairIndex.open([publish(6, broken=tuple(range(6)))])
    with pytest.raises(DataError, match="5 broken images one after the other"):
        batches(index, workers, batch_per_rank=2)


def test_a_rank_without_pairs_in_the_last_batch_gets_an_empty_one(publish):
    index = PairIndex.open([publish(9)])
    last = [batches(index, world=4, rank=rank, batch_per_rank=2, keep_last=True)[-1] for rank in range(4)]
    assert [len(batch) for batch in last] == [1, 0, 0, 0]
    assert last[3].images.shape == (0, 3, 24, 24)


def test_a_tokenizer_of_the_callers_own(publish):
    index = PairIndex.open([publish(4)])
    loader = PairLoader(
        index,
        epoch_order(index, 0, 0, batch_per_rank=4),
        LoaderConfig(
            24, workers=0, max_length=9, tokenize=lambda captions, length: torch.full((len(captions), length), 3)
        ),
    )
    (batch,) = loader
    assert batch.tokens.tolist() == [[3] * 9] * 4


class _Folder(SimpleHTTPRequestHandler):
    fetched: list[str]

    def do_GET(self) -> None:
        type(self).fetched.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output stays clean."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (_Folder,), {"fetched": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.fetched
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_remote_shards_over_http_each_once_over_ranks_and_workers(publish):
    folder = publish(60, shards=6, broken=(4,))
    with served(folder) as (url, fetched):
        index = PairIndex.open([url])
        ranks = [batches(index, 2, world=2, rank=rank, batch_per_rank=5, keep_last=True) for rank in range(2)]
        tars = [path for path in fetched if path.endswith(".tar")]
        assert sorted(tars) == sorted(set(tars))  # each fetched once, whole
        assert len(tars) == 6
        again = batches(index, 0, world=2, rank=1, batch_per_rank=5, start=20, keep_last=True)
    keys = [key for rank in ranks for batch in rank for key in batch.keys]
    skipped = [key for rank in ranks for batch in rank for key, _ in batch.skipped]
    assert len(keys) == 60
    assert len(skipped) == 1
    assert set(keys) | set(skipped) == set(index.key.to_pylist())
    assert same(ranks[1][2:], again)


def test_remote_pairs_of_a_memory_file_system_equal_the_local_ones(publish):
    folder = publish(30, shards=3)
    fsspec.filesystem("memory").put(str(folder), "/loader-test", recursive=True)
    local, remote = PairIndex.open([folder]), PairIndex.open(["memory://loader-test"])

    def images(index: PairIndex) -> dict[str, torch.Tensor]:
        loader = PairLoader(
            index, epoch_order(index, 0, 0, batch_per_rank=5), LoaderConfig(24, augment=None, workers=0)
        )
        by_key = {key: image for batch in loader for key, image in zip(batch.keys, batch.images, strict=True)}
        loader.close()
        return by_key

    from_local, from_remote = images(local), images(remote)
    assert set(from_local) == set(from_remote) == set(local.key.to_pylist())
    assert all(torch.equal(image, from_remote[key]) for key, image in from_local.items())


def test_copies_of_remote_shards_do_not_pile_up(publish, tmp_path):
    fsspec.filesystem("memory").put(str(publish(40, shards=8)), "/pile-test", recursive=True)
    index = PairIndex.open(["memory://pile-test"])
    shards = shards_module.Shards(index.tars, index.tar_ends.tolist(), tmp_path, copies=3)
    for tar in [*range(8), 0]:
        assert shards.read(tar, 0, 4)
        assert len(list(tmp_path.glob("*.tar"))) <= 3
    shards.close()


def test_a_remote_shard_that_is_gone_stops_the_training_with_its_name(publish):
    memory = fsspec.filesystem("memory")
    memory.put(str(publish(20, shards=2)), "/gone-test", recursive=True)
    index = PairIndex.open(["memory://gone-test"])
    memory.rm("/gone-test/000001.tar")
    with pytest.raises(ShardError, match=r"gone-test/000001.tar: not fetched"):
        batches(index, batch_per_rank=5)
