"""The canonical columns of a pair."""

from __future__ import annotations

import pyarrow as pa

PAIR_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # name of the source in the recipe
        pa.field("file", pa.string(), nullable=False),  # the metadata file, as the recipe's glob resolved it
        pa.field("row", pa.int64(), nullable=False),  # position in that file, from 0
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),  # trimmed of white space
        pa.field("language", pa.string()),
        pa.field("similarity", pa.float32()),  # of the data set's own CLIP; not this project's score
        pa.field("width", pa.int32()),  # declared, pixels, already the right way round
        pa.field("height", pa.int32()),
        pa.field("punsafe", pa.float32()),  # probability, 0 to 1
        pa.field("pwatermark", pa.float32()),  # probability, 0 to 1
        pa.field("nsfw", pa.string()),
        pa.field("license", pa.string()),
        pa.field("english", pa.string()),  # what the caption is a translation of; several texts are joined by "; "
        pa.field("image_id", pa.string()),  # of the image, in the data set that it is from
        pa.field("coco_id", pa.int64()),  # of the image in MSCOCO, where it is one of its images
        pa.field("flickr_id", pa.int64()),  # of the photo on Flickr
    ]
)
"""The canonical columns of a pair, whatever its source. Only source, file and row are never null."""
