"""A run folder of any size, up to tens of millions of metadata rows, to measure what looks at runs.

    python -m benchmarks.big_run FOLDER --rows 20000000

Real: the stages read, filter, plan, eval_images, dedup_images and select are the project's own, over generated metadata files, and so
are attempts, commits, manifests, the driver, the catalog and the data card. Every count follows from the rows, so the run is
conserved and `zhclip verify` finds nothing wrong with it.

Generated: the metadata (captions of jieba's words by Zipf's law, invented hosts under `.example`), what came of each download,
scores and fingerprints of images (random bits, but equal or near where two urls show one picture), and the times of download
and score, which are written as if machines had worked for hours. The text model's revision is `generated` in every row.

Images: only the first plan shards have a raw tar, and only published shards made wholly of these have a tar; in all others the
tar is in no manifest, as if it had been deleted. The JPEGs are a few hundred drawings in turn, whatever caption or
fingerprint stands beside them; only copies of test images show what their fingerprint says.

Memory peaks in the dedup_images stage: 3.7 GiB at 20 million rows, where 8.7 million pairs are scored (1.2 GiB in the plan).

The same rows, seed and images give the same pairs, and a stopped generation continues with the shards that are missing. The
metadata is removed once the plan is complete.
"""
