"""Plan: metadata in, shards of kept pairs in key order out; all that is global happens here, on text alone.

Three steps, each shard by shard, with files between them:

    read    a split of a metadata file → its pairs, keys and what each row-wise rule said, ordered by caption hash
    judge   all pairs whose caption hash falls into one bucket → duplicates, frequencies; ledger; kept pairs by key range
    cut     all kept pairs of one key range → sorted by key, cut into download shards
"""
