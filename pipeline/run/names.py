"""What lies in a run beside the folders of its stages: the one list of these names."""

from __future__ import annotations

FORMAT_FILE = "run.json"  # the format version of the folder, written first
RECIPE_FILE = "recipe.yaml"  # the recipe as it runs, every default written out; a folder without it is no run
LAYOUT_FILE = "layout.json"  # how the metadata is divided
LEDGER = "ledger"  # ledger/STAGE/SHARD.parquet
TIMES = "times"  # times/STAGE/SHARD~BEGAN~ENDED~HOST, empty: when and where each shard was committed
CATALOG_SQL = "catalog.sql"
CATALOG = "catalog"  # small tables of the catalog
REPORT = "report.html"
CALIBRATION = "calibration"  # what `zhclip calibrate` writes
FAILURES = ".failures"  # failures/STAGE/ITEM.txt: tracebacks
DRIVER = ".driver"  # the lease of the process that drives the run: EPOCH.json, EPOCH.beat, EPOCH.ended
DATASET = "dataset"  # what is published, under plain names: it stands alone
DATASET_MANIFEST = "manifest.json"  # in it, written last: without it nothing is published
CARD = "README.md"  # in it
KEPT = ".kept"  # in the download's folder: SHARD.json, files of the try before that a retry makes use of
PARTS = ".parts"  # in the folder of translations: parts of a split that is not done
