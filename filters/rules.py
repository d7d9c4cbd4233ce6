"""The metadata rules of a source: one optional filter for each question, in the order of the ledger's reasons."""

from __future__ import annotations

from typing import get_args

from filters.base import Filter
from filters.blacklist import Blacklist
from filters.caption import CaptionFrequency, CaptionLength, HanCharacters
from filters.metadata import DeclaredSize, MetadataSimilarity, NsfwTag, Punsafe, Pwatermark
from filters.quality.contact import ContactDetails
from filters.quality.language import CaptionLanguage
from filters.quality.marks import MarksAndDigits
from filters.quality.repetition import Repetition
from filters.translation import TranslationCheck
from filters.url import UrlSanity
from foundation.config import Config, value


class Rules(Config):
    """Which filters apply to a source; None disables one. A row without url or caption is no pair, so two are always on."""

    caption_length: CaptionLength = value(CaptionLength(), "length of the caption")
    han: HanCharacters | None = value(HanCharacters(), "Han characters in the caption")
    blacklist: Blacklist | None = value(Blacklist, "words no caption may contain")
    caption_frequency: CaptionFrequency | None = value(None, "how often a caption may occur in its source")
    url: UrlSanity = value(UrlSanity(), "urls that can and may be fetched")
    similarity: MetadataSimilarity | None = value(None, "the data set's own image-text similarity")
    punsafe: Punsafe | None = value(None, "the data set's own unsafe score")
    pwatermark: Pwatermark | None = value(None, "the data set's own watermark score")
    image_size: DeclaredSize | None = value(None, "declared width and height")
    nsfw: NsfwTag | None = value(None, "the data set's NSFW tag")
    language: CaptionLanguage | None = value(None, "captions that are not Mandarin")
    repetition: Repetition | None = value(None, "captions that repeat themselves")
    marks: MarksAndDigits | None = value(None, "captions that are mostly marks or digits")
    contact: ContactDetails | None = value(None, "telephone numbers, messengers and addresses, however written")
    translation: TranslationCheck | None = value(
        None, "what is wrong with a translation, of pairs that have English text"
    )

    @classmethod
    def classes(cls) -> tuple[type[Filter], ...]:
        """The class of each field, in order."""
        return tuple(
            option
            for field in cls.model_fields.values()
            for option in (get_args(field.annotation) or (field.annotation,))
            if isinstance(option, type) and issubclass(option, Filter)
        )

    def filters(self) -> tuple[Filter, ...]:
        """The filters that are not disabled, in the order of the fields."""
        return tuple(rule for name in type(self).model_fields if (rule := getattr(self, name)) is not None)

    def row_filters(self) -> tuple[Filter, ...]:
        """The filters that look at each row alone, so that any batch of rows will do."""
        return tuple(rule for rule in self.filters() if rule.scope == "row")

    def group_filters(self) -> tuple[Filter, ...]:
        """The filters that must see all rows of equal captions in one table."""
        return tuple(rule for rule in self.filters() if rule.scope == "caption_group")
