"""The kinds of sources that a recipe may name. A new kind is one module, and one line in KINDS."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Union, get_args

from pydantic import Field

from pipeline.sources.base import Source

KINDS = (
    "pipeline.sources.laion:LaionSource",
    "pipeline.sources.wukong:WukongSource",
    "pipeline.sources.table:TableSource",
    "pipeline.sources.coco:CocoSource",
    "pipeline.sources.visual_genome:VisualGenomeSource",
)
"""In the order in which messages list them. Names rather than imports, so that a kind is one line."""

_CLASSES: tuple[type[Source], ...] = tuple(resolve_name(name) for name in KINDS)
SOURCE_KINDS: dict[str, type[Source]] = {
    get_args(source.model_fields["kind"].annotation)[0]: source for source in _CLASSES
}
"""`kind` in a recipe → its class."""

if TYPE_CHECKING:
    AnySource = Source
else:
    AnySource = Annotated[Union[_CLASSES], Field(discriminator="kind")]  # noqa: UP007  X | Y cannot be unpacked
