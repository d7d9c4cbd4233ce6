from __future__ import annotations

import io
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from trainer.data.index import DataError, PairIndex


def test_every_pair_in_key_order_with_the_place_of_its_image(publish):
    folder = publish(30, shards=3)
    index = PairIndex.open([folder])
    keys = index.key.to_pylist()
    assert len(index) == 30
    assert keys == sorted(keys)
    for row in range(30):
        content = Path(index.tars[index.tar[row]]).read_bytes()[index.offset[row] :][: index.length[row]]
        Image.open(io.BytesIO(content)).load()
    assert index.sources() == {"laion": 20, "wukong": 10}
    assert {index.tar.dtype.name, index.length.dtype.name, index.offset.dtype.name} == {"int32", "int64"}


def test_several_folders_are_one_index(publish):
    first, second = publish(10, name="one"), publish(14, shards=2, name="two")
    index = PairIndex.open([first, second])
    assert len(index) == 24
    assert len(index.tars) == 3
    assert index.key.to_pylist() == PairIndex.open([second, first]).key.to_pylist()


def test_a_predicate_chooses_pairs_and_may_say_clip_score(publish):
    folder = publish(40, shards=2)
    index = PairIndex.open([folder], "clip_score >= 0.5 and source = 'laion' -- a comment")
    captions = {int(caption.removeprefix("图片")) for caption in index.caption.to_pylist()}
    assert captions == {i for i in range(20, 40) if i % 3 != 2}


@pytest.mark.parametrize("where", ["clip_score >", "clp_score > 0.3", "caption > 3", "length(caption"])
def test_a_predicate_that_does_not_parse_is_named_with_the_columns(publish, where):
    with pytest.raises(DataError) as error:
        PairIndex.open([publish(3)], where)
    assert repr(where) in str(error.value)
    assert "columns: key, source, caption, score" in str(error.value)
    assert "clip_score" in str(error.value)


def test_a_predicate_that_no_pair_meets_is_an_error(publish):
    with pytest.raises(DataError, match=r"'score > 2': no pair of .*dataset meets it"):
        PairIndex.open([publish(3)], "score > 2")


def test_weights_must_name_a_source_and_be_positive(publish):
    folder = publish(6)
    with pytest.raises(DataError, match=r"coco=1.0.*laion, wukong"):
        PairIndex.open([folder], weights={"coco": 1.0})
    with pytest.raises(DataError, match="laion=-1"):
        PairIndex.open([folder], weights={"laion": -1})


def test_folders_that_are_no_published_pairs(publish, tmp_path):
    with pytest.raises(DataError, match="no published pairs here"):
        PairIndex.open([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="all local or all remote"):
        PairIndex.open([publish(3), "memory://pairs"])


def test_a_missing_or_short_tar_is_found_before_training(publish):
    folder = publish(8, shards=2)
    tar = folder / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(DataError, match=r"000001.tar: has 600 bytes; its index says at least"):
        PairIndex.open([folder])
    tar.unlink()
    with pytest.raises(DataError, match=r"000001.tar: missing"):
        PairIndex.open([folder])


def test_only_what_the_manifest_names_counts(publish):
    folder = publish(8, shards=2)
    (folder / "000009.parquet").write_bytes(b"left behind by a killed attempt")
    assert len(PairIndex.open([folder])) == 8


def test_an_index_of_a_remote_folder_equals_the_local_one(publish):
    folder = publish(12, shards=2)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/index-test", recursive=True)
    remote, local = PairIndex.open(["memory://index-test"], "number < 9"), PairIndex.open([folder], "number < 9")
    assert remote.remote
    assert not local.remote
    assert remote.key.equals(local.key)
    assert (remote.offset == local.offset).all()
    assert remote.tars == ("memory://index-test/000000.tar", "memory://index-test/000001.tar")
