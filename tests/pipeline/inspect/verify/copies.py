"""A copy of a run that can be changed, file by file, with everything rewritten that a careful forger would rewrite."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.run.parquet import write_parquet
from pipeline.run.tar import END_OF_TAR, sample_members
from pipeline.stages.opening import read_run
from pipeline.stages.publish import card

Json = dict[str, Any]
Pair = tuple[dict[str, Any], bytes]  # row of the index, image


@dataclass(frozen=True)
class Copy:
    """Files are links to the original's, so a changed one is always written anew."""

    folder: Path

    @staticmethod
    def of(original: Path, folder: Path) -> Copy:
        shutil.copytree(original, folder, copy_function=os.link)
        return Copy(folder)

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def remove(self, name: str) -> None:
        path = self.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def flip(self, name: str, position: int, bit: int = 0x01) -> None:
        content = bytearray(self.read(name))
        content[position] ^= bit
        self.write(name, bytes(content))

    def cut(self, name: str, size: int) -> None:
        """Keeps the first `size` bytes, or all but the last ones where it is below 0."""
        self.write(name, self.read(name)[:size])

    def replace(self, name: str, old: str, new: str) -> None:
        text = self.read(name).decode()
        assert old in text
        self.write(name, text.replace(old, new, 1).encode())

    def edit(self, name: str, change: Callable[[Json], object]) -> None:
        """Change a JSON file."""
        content = json.loads(self.read(name))
        change(content)
        self.write(name, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    def json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def manifest(self, stage: str, shard: str = "000001") -> str:
        """The name of a manifest."""
        return f"{read_run(self.folder).stages[stage].folder}/{shard}.json"

    def edit_manifest(self, stage: str, shard: str, change: Callable[[Json], object]) -> None:
        self.edit(self.manifest(stage, shard), change)

    def edit_counts(self, stage: str, shard: str, change: Callable[[Json], object]) -> None:
        self.edit_manifest(stage, shard, lambda manifest: change(manifest["counts"]))

    def file(self, stage: str, ending: str, shard: str = "000001") -> str:
        """The name of a file that a manifest names: by its ending, or `ledger`."""
        names = self.json(self.manifest(stage, shard))["files"]
        ledger = ending == "ledger"
        (name,) = (name for name in names if name.startswith("ledger/") == ledger and (ledger or name.endswith(ending)))
        return str(name)

    def table(self, name: str) -> pa.Table:
        return pq.read_table(self.folder / name)

    def forge_table(self, stage: str, name: str, table: pa.Table, shard: str = "000001") -> None:
        """Another table under a name, with size and hash put right in the manifest."""
        (self.folder / name).unlink()
        write_parquet(table, self.folder / name)
        self.rehash(stage, shard, name)

    def forge_rows(self, stage: str, name: str, change: Callable[[list[Json]], object]) -> None:
        table = self.table(name)
        rows = table.to_pylist()
        change(rows)
        self.forge_table(stage, name, pa.Table.from_pylist(rows, schema=table.schema))

    def rehash(self, stage: str, shard: str, *names: str) -> None:
        def change(manifest: Json) -> None:
            for name in names:
                content = self.read(name)
                manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

        self.edit_manifest(stage, shard, change)

    def seal(self) -> None:
        """Writes manifest.json and the card of the data set anew, root and all, as the run is now."""
        for name in ("manifest.json", "README.md"):
            (self.folder / "dataset" / name).unlink(missing_ok=True)
        card.write(read_run(self.folder))

    def forge_tar(self, change: Callable[[list[Pair]], list[Pair]], shard: str = "000001") -> None:
        """Another tar and index, consistent with one another and with the manifest."""
        tar, index = self.file("publish", ".tar", shard), self.file("publish", ".parquet", shard)
        table, content = self.table(index), self.read(tar)
        rows = [(row, content[row["offset"] : row["offset"] + row["length"]]) for row in table.to_pylist()]
        forged, written = [], io.BytesIO()
        for row, image in change(rows):
            row = {**row, "image_sha256": hashlib.sha256(image).hexdigest(), "length": len(image)}
            public = {name: value for name, value in row.items() if name not in ("tar", "offset", "length")}
            sample = sample_members(row["key"], image, public)
            forged.append({**row, "offset": written.tell() + sample.image_offset})
            written.write(sample.content)
        written.write(END_OF_TAR)
        self.write(tar, written.getvalue())
        self.forge_table("publish", index, pa.Table.from_pylist(forged, schema=table.schema), shard)
        self.rehash("publish", shard, tar)
