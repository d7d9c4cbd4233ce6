"""`torchrun --nproc-per-node 8 -m trainer vit-b-16 --data … --out …`."""

from __future__ import annotations

import typer

from foundation.log import configure
from trainer.cli import train

if __name__ == "__main__":
    configure()
    typer.run(train)
