"""The contrastive loss, forward and backward: this project's tiles against plain code, in time and memory.

    python -m benchmarks.loss [--pairs 16384] [--full] [--dim 512] [--chunk 1024] [--rounds 3] [--tiles-only]

Naive is what cn_clip does (one matrix of logits, cross entropy over it and over its transpose); open_clip is its ClipLoss,
which multiplies twice. Each runs in a child process of its own, one after the other. Memory is the peak of the child's
resident memory above what it held when the features were there; time is the best of the rounds (median in brackets), on all
cores, float32. --full takes the paper's batch of 32,768 pairs: naive then takes 16.5 GiB. bf16 is the tiled loss on
bfloat16 features.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.loss import contrastive_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
FULL = 32_768  # pairs: the paper's batch (Table 8)
MIB = 1 << 20


def naive(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """As cn_clip's train.py: one product, both directions from it."""
    logits, own = scale * images @ texts.T, torch.arange(len(images))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def open_clip(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """open_clip's own class."""
    from open_clip import ClipLoss

    return ClipLoss()(images, texts, scale)  # type: ignore[no-any-return]


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Peak:
    """The largest resident memory while the block ran, in bytes, looked at every two milliseconds."""

    def __enter__(self) -> Peak:
        self.bytes, self._done = resident(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.bytes = max(self.bytes, resident())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def features(pairs: int, dim: int, dtype: torch.dtype) -> list[Tensor]:
    """Normalised features of matching pairs, and the scale, as leaves."""
    torch.manual_seed(0)
    images = F.normalize(torch.randn(pairs, dim), dim=-1)
    texts = F.normalize(images + 0.08 * torch.randn(pairs, dim), dim=-1)  # cosines of about 0.5
    return [side.to(dtype).requires_grad_() for side in (images, texts)] + [torch.tensor(14.3, requires_grad=True)]


def measure(name: str, pairs: int, dim: int, chunk: int, rounds: int) -> dict[str, object]:
    """What the child does; the first, small run is to load libraries and is not counted."""

    def tiled(*inputs: Tensor) -> Tensor:
        return contrastive_loss(*inputs, chunk=chunk)

    Path("/proc/self/oom_score_adj").write_text("1000")  # where memory ends, this process goes and no other
    loss: Loss = {"naive": naive, "open_clip": open_clip}.get(name, tiled)
    dtype = torch.bfloat16 if name == "tiles, bf16" else torch.float32
    loss(*features(256, dim, dtype)).backward()
    inputs, seconds, value = features(pairs, dim, dtype), [], 0.0
    before = resident()
    with Peak() as peak:
        for _ in range(rounds):
            for tensor in inputs:
                tensor.grad = None
            begin = time.perf_counter()
            result = loss(*inputs)
            result.backward()
            seconds.append(time.perf_counter() - begin)
            value = float(result.detach())
            del result
    norm = float(inputs[0].grad.float().norm())
    return {"seconds": seconds, "mib": (peak.bytes - before) / MIB, "loss": value, "norm": norm}


def child(name: str, given: argparse.Namespace) -> dict[str, object]:
    """The measurement in a process of its own."""
    spec = {"name": name, "pairs": given.pairs, "dim": given.dim, "chunk": given.chunk, "rounds": given.rounds}
    command = [sys.executable, "-m", "benchmarks.loss", "--child", json.dumps(spec)]
    measured = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    if measured.returncode:
        return {"failed": f"ended with {measured.returncode} (out of memory?)"}
    return json.loads(measured.stdout)  # type: ignore[no-any-return]


def report(results: dict[str, dict[str, object]]) -> None:
    """One line each, with ratios to naive where that ran."""
    base = results.get("naive", {})
    print(f"{'':14}{'seconds (median)':>20}{'peak MiB':>12}{'loss':>14}{'|gradient|':>14}{'time':>9}{'memory':>10}")
    for name, figures in results.items():
        if "failed" in figures:
            print(f"{name:14} {figures['failed']}")
            continue
        best, median = min(figures["seconds"]), statistics.median(figures["seconds"])  # type: ignore[call-overload]
        line = f"{name:14}{f'{best:.2f} ({median:.2f})':>20}{figures['mib']:12,.0f}{figures['loss']:14.7f}{figures['norm']:14.7f}"
        if "seconds" in base:
            line += f"{best / min(base['seconds']):8.2f}x{'1/' + format(base['mib'] / figures['mib'], '.0f'):>10}"  # type: ignore[call-overload, operator]
        print(line)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss", description=__doc__)
    parser.add_argument("--pairs", type=int, default=16_384)
    parser.add_argument("--full", action="store_true", help=f"{FULL:,} pairs")
    parser.add_argument("--tiles-only", action="store_true", help="without naive and open_clip, for little memory")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(**json.loads(given.child))))
        return
    given.pairs = FULL if given.full else given.pairs
    names = ["tiles", "tiles, bf16"] if given.tiles_only else ["naive", "open_clip", "tiles", "tiles, bf16"]
    print(f"{given.pairs:,} pairs, {given.dim} dimensions, chunk {given.chunk}, {torch.get_num_threads()} threads")
    report({name: child(name, given) for name in names})


if __name__ == "__main__":
    main()
