"""Training images a second: this project's loader beside open_clip's (webdataset, Pillow, torchvision transforms).

python -m benchmarks.loader

Both read the same published shards with the same number of worker processes and do the same to each pair: crop, horizontal flip,
AutoAugment, normalise, tokenise. open_clip's own data pipeline runs, with its own shuffle buffer; its tokenizer is this
project's, called for each text as open_clip calls it. Rounds alternate; a round is an epoch, workers already started.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import webdataset
from open_clip_train import data as open_clip_data
from PIL import Image
from torch import Tensor
from torchvision import transforms

from trainer.data.augment import MEAN, STD, AugmentConfig
from trainer.data.index import PairIndex
from trainer.data.loader import LoaderConfig, PairLoader
from trainer.data.operations import FILL
from trainer.data.order import epoch_order
from trainer.tokenizer import tokenize

SIZE, LENGTH = 224, 52


def photo(number: int) -> bytes:
    """A JPEG of 224 by 224 pixels and about 20 kB, as photographs of that size have: soft forms under fine grain."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 256, (14, 14, 3), dtype=np.uint8)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
    grain = chance.standard_normal((SIZE, SIZE, 1), dtype=np.float32) * 12
    content = io.BytesIO()
    Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=90)
    return content.getvalue()


def publish(folder: Path, shards: int, pairs: int) -> None:
    """`shards` published shards of `pairs` pairs: KEY.jpg, KEY.json, KEY.txt in a tar, and its index."""
    for shard in range(shards):
        rows = []
        with tarfile.open(folder / f"{shard:06}.tar", "w") as tar:
            for number in range(shard * pairs, (shard + 1) * pairs):
                key, caption = (
                    hashlib.md5(str(number).encode()).hexdigest(),
                    f"一张编号为{number}的照片，适合用来测量速度",
                )
                parts = {"jpg": photo(number), "json": json.dumps({"key": key}).encode(), "txt": caption.encode()}
                rows.append({"key": key, "source": "bench", "caption": caption, "tar": f"{shard:06}.tar"})
                rows[-1] |= {"offset": tar.offset + tarfile.BLOCKSIZE, "length": len(parts["jpg"])}
                for ending, content in parts.items():
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:06}.parquet")


def open_clips(folder: Path, shards: int, pairs: int, batch: int, workers: int) -> Iterable[list[Tensor]]:
    """open_clip's loader, with the same policy in torchvision's transforms on Pillow images."""
    policy = AugmentConfig()
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, policy.scale, policy.ratio, transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(policy.flip),
            transforms.AutoAugment(fill=list(FILL)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    given = argparse.Namespace(
        train_data=str(folder / f"{{000000..{shards - 1:06}}}.tar"),
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        train_num_samples=shards * pairs,
        seed=0,
        world_size=1,
        batch_size=batch,
        workers=workers,
    )
    # open_clip 3.3's own variant of this stage does not know the end-of-shard marks of webdataset 0.2.111; this is the
    # original that it is a variant of.
    open_clip_data.tarfile_to_samples_nothrow = webdataset.tarfile_to_samples(handler=open_clip_data.log_and_continue)
    return open_clip_data.get_wds_dataset(given, transform, is_train=True, tokenizer=_one_text).dataloader


def _one_text(caption: str) -> Tensor:
    """int64 [1, LENGTH]: open_clip's tokenizers take a text, and fill up to the full length so that samples stack."""
    tokens = tokenize([caption], LENGTH)
    return torch.nn.functional.pad(tokens, (0, LENGTH - tokens.shape[1]))


def images_per_second(loader: Iterable[object]) -> float:
    """Of one epoch."""
    begin, images = time.perf_counter(), 0
    for batch in loader:
        images += len(batch.images if hasattr(batch, "images") else batch[0])  # type: ignore[index]
    return images / (time.perf_counter() - begin)


def main() -> None:
    """Print both medians, their spread and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=1000, help="in a shard")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the workers have the other cores
    with tempfile.TemporaryDirectory(prefix="zhclip-bench-") as name:
        folder = Path(name)
        publish(folder, given.shards, given.pairs)
        index = PairIndex.open([folder])
        order = epoch_order(index, 0, 0, batch_per_rank=given.batch)
        ours = PairLoader(index, order, LoaderConfig(SIZE, workers=given.workers))
        open_clip = open_clips(folder, given.shards, given.pairs, given.batch, given.workers)
        speeds: dict[str, list[float]] = {"zhclip": [], "open_clip": []}
        for turn in range(given.rounds + 1):  # the first starts the workers and is not counted
            for side, loader in (("zhclip", ours), ("open_clip", open_clip)):
                order.set_epoch(turn)
                speeds[side].append(images_per_second(loader))
        ours.close()
    print(
        f"{len(index):,} JPEGs of {SIZE} px, {index.length.mean() / 1000:.1f} kB, {given.workers} workers, batch {given.batch}"
    )
    medians = {side: statistics.median(values[1:]) for side, values in speeds.items()}
    for side, values in speeds.items():
        print(
            f"{side:10}{medians[side]:8.0f} images/s (from {min(values[1:]):.0f} to {max(values[1:]):.0f} in {given.rounds} rounds)"
        )
    print(f"{'ratio':10}{medians['zhclip'] / medians['open_clip']:8.2f}")


if __name__ == "__main__":
    main()
