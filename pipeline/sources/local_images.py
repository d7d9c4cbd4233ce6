"""Urls of images that lie in folders and zip files of this machine: `local:SOURCE/train2014/NAME.jpg`.

No path of a machine is published. A row's own source must be SOURCE, and the recipe must name `images` for it, so no url that
stands in metadata can lead to a file. The download stage reads them (`pipeline.stages.download.local`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

SCHEME = "local:"


def local_url(source: str, name: str) -> str:
    """The url of an image that `source` has under a relative path, escaped as in any url."""
    return f"{SCHEME}{quote(source, safe='')}/{quote(name)}"


def is_relative_path(name: str) -> bool:
    """Whether a name leads down from a folder, in the plainest form: no `..`, `.`, empty part, backslash or NUL."""
    return not ({"", ".", ".."} & set(name.split("/")) or "\\" in name or "\0" in name)


def check_image_folders(paths: Sequence[str]) -> None:
    """Open each folder or zip file once.

    Raises:
        ValueError: a path is neither; the message has it.
    """
    for path in paths:
        try:
            if not Path(path).is_dir():
                zipfile.ZipFile(path).close()
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: expected a folder or a zip file of images; {error}") from error
