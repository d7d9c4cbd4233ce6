"""Download CPU per image: plain img2dataset against this project's download, side by side on loopback.

    python -m benchmarks.download [--images 1000] [--rounds 3] [--resize center_crop]

Both run img2dataset's Downloader in one child process at the same size, quality, mode and threads, on the same JPEGs
from the same server. Plain means its own urllib fetch, Resizer and webdataset writer. Reported: user and system time of
the child and its launcher, start included, divided by the images; what matters is the ratio.
"""

from __future__ import annotations

import argparse
import http.server
import io
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.recipe.download import Download
from pipeline.stages.download.shard import download_shard

PHOTOS = 16
WIDTH, HEIGHT = 1024, 768  # pixels
QUALITY = 85
MODES = ("center_crop", "keep_ratio", "border")  # those that plain img2dataset has too

_PLAIN = """
import json, sys
from img2dataset.downloader import Downloader
from img2dataset.resizer import Resizer
from img2dataset.writer import WebDatasetSampleWriter
spec = json.loads(sys.argv[1])
resizer = Resizer(spec["image_size"], spec["resize"], resize_only_if_bigger=False, encode_quality=spec["jpeg_quality"])
Downloader(WebDatasetSampleWriter, resizer, spec["threads"], True, False, spec["folder"], ["url", "caption"], 10,
           10_000, 5, "sha256", None, "jpg", 2, None, ["noai", "noimageai", "noindex", "noimageindex"]
           ).download_shard((0, spec["folder"] + "/rows.arrow"))
"""


def photo(seed: int) -> bytes:
    """A JPEG with the spectrum of a photo (amplitude falls with frequency), colours close to each other."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1
    noise = np.fft.rfft2(rng.standard_normal((4, HEIGHT, WIDTH))) / frequency**1.3
    planes = np.fft.irfft2(noise, (HEIGHT, WIDTH))
    planes /= planes.std(axis=(1, 2), keepdims=True)
    pixels = (128 + 45 * planes[0] + 15 * planes[1:]).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def serve(port: Any) -> None:
    """Serve the photos until killed; the port is put into the queue `port`."""
    photos = [photo(seed) for seed in range(PHOTOS)]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = photos[int(self.path.strip("/").partition(".")[0]) % PHOTOS]
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 256  # as many as knock at once

    server = Server(("127.0.0.1", 0), Handler)
    port.put((server.server_address[1], statistics.mean(map(len, photos))))
    server.serve_forever()


def cpu(job: Callable[[], None]) -> float:
    """Seconds of processor that `job` took, in this process and in children it waited for."""

    def used() -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before = used()
    job()
    return used() - before


def ours(rows: pa.Table, folder: Path, config: Download) -> None:
    """This project's way; every image must have come."""
    table = download_shard(rows, folder, config)
    assert set(table["status"].to_pylist()) == {"ok"}, table["reason"].value_counts()


def plain(rows: pa.Table, folder: Path, config: Download) -> None:
    """img2dataset as it is; every image must have come."""
    links = rows.select(["url", "caption"])  # a column named key would make its writer fail
    with pa.ipc.new_file(str(folder / "rows.arrow"), links.schema) as writer:
        writer.write_table(links)
    spec = config.model_dump(include={"image_size", "resize", "jpeg_quality", "threads"}) | {"folder": str(folder)}
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}  # else it asks its maker for news at each start
    command = [sys.executable, "-c", _PLAIN, json.dumps(spec)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    assert json.loads((folder / "00000_stats.json").read_text())["successes"] == rows.num_rows


def measure(images: int, rounds: int, config: Download, port: int) -> dict[str, list[float]]:
    """Milliseconds of CPU per image, per way and round; the two ways take turns."""
    rows = pa.table(
        {
            "url": [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(images)],
            "caption": ["一张照片"] * images,
            "key": [f"{number:032x}" for number in range(images)],
        }
    )
    times: dict[str, list[float]] = {"plain img2dataset": [], "zhclip": []}
    for _ in range(rounds):
        for name, way in zip(times, (plain, ours), strict=True):
            with tempfile.TemporaryDirectory() as folder:
                times[name].append(cpu(lambda way=way, to=Path(folder): way(rows, to, config)) / images * 1000)
    return times


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resize", choices=MODES, default="center_crop")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    server = context.Process(target=serve, args=(queue,), daemon=True)
    server.start()
    port, size = queue.get()
    config = Download(resize=options.resize, allow_hosts=(f"127.0.0.1:{port}",))
    print(
        f"{options.images} JPEGs of {WIDTH} x {HEIGHT}, {size / 1000:.0f} kB, {options.resize}, {config.image_size} px"
    )
    starts = {name: statistics.median(each) for name, each in measure(1, 3, config, port).items()}
    times = measure(options.images, options.rounds, config, port)
    server.terminate()
    print(f"{'ms CPU':20}  an image   a start   an image without the start   (an image, each round)")
    table = {name: (statistics.median(each), starts[name]) for name, each in times.items()}
    for name, (image, start) in table.items():
        each = ", ".join(f"{milliseconds:.2f}" for milliseconds in times[name])
        print(f"{name:20} {image:9.2f} {start:9.0f} {image - start / options.images:20.2f}           ({each})")
    (before, slow), (after, quick) = table.values()
    bare = (after - quick / options.images) / (before - slow / options.images)
    print(
        f"{'ratio':20} {after / before:9.2f} {quick / slow:9.2f} {bare:20.2f}           (at most 0.75 an image is wanted)"
    )


if __name__ == "__main__":
    main()
