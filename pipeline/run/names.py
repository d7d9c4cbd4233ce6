"""What lies in a run folder beside the folders of its stages: the one list of these names."""

from __future__ import annotations

FORMAT_FILE = "run.json"  # the format version of the folder, written first
RECIPE_FILE = "recipe.yaml"  # the recipe as it runs, every default written out; a folder without it is no run
LAYOUT_FILE = "layout.json"  # how the metadata is divided
LEDGER = "ledger"  # ledger/STAGE/SHARD.parquet
TIMES = "times"  # times/STAGE.jsonl: when and where each shard was committed
CATALOG_SQL = "catalog.sql"
CATALOG = "catalog"  # small tables of the catalog
REPORT = "report.html"
CALIBRATION = "calibration"  # what `zhclip calibrate` writes
ATTEMPTS = ".attempts"  # private folders of attempts that are not committed yet
FAILURES = ".failures"  # failures/STAGE/ITEM.txt: tracebacks
LOCKS = ".locks"
DATASET = "dataset"  # what is published: the folder of the stage `publish`, which stands alone
DATASET_MANIFEST = "manifest.json"  # in it
KEPT = ".kept"  # in the download's folder: images that a retry does not fetch again
PARTS = ".parts"  # in the folder of translations: parts of a split that is not done
