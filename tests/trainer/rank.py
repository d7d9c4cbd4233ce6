"""`python -m tests.trainer.rank MODULE RANK FOLDER`: calls `rank_main` of a module of tests."""

import importlib
import sys

if __name__ == "__main__":
    module, rank, folder = sys.argv[1:]
    importlib.import_module(module).rank_main(int(rank), folder)
