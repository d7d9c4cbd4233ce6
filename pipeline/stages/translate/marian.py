"""MarianMT translation in batches of like length: the same texts give the same translations, whatever else runs."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, MarianMTModel, MarianTokenizer
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from foundation.devices import pick_device, pick_dtype
from foundation.hub import ModelError, ModelFiles, ModelNotFound, ModelSetting, find_model
from pipeline.sources.translation.config import Translation
from pipeline.sources.translation.text import one_line, to_simplified

NEEDED = ("config.json", "source.spm", "target.spm", "vocab.json")
MANDARIN = ">>cmn_Hans<<"  # simplified Mandarin among the targets of Helsinki-NLP/opus-mt-en-zh
MODEL = ModelSetting(
    name="translation.model",
    revision_name="translation.revision",
    example="Helsinki-NLP/opus-mt-en-zh",
    small_files=("*.json", "*.spm"),
    contents=", ".join(NEEDED),
)


class Translator:
    """A MarianMT model and how it is run. Calls from several threads are safe; they take turns in the model.

    What a text becomes depends on the texts given with it only as far as rounding goes: they share its batch. Batches are
    cut by the texts alone, so the same call gives the same answer on the same kind of machine.
    """

    def __init__(self, config: Translation, source: ModelFiles, tokenizer: Any, model: Any) -> None:
        """Raises ModelError where `config` asks for a language token that the vocabulary lacks, or for too many tokens."""
        self.config, self.source, self.tokenizer, self.model = config, source, tokenizer, model
        self.language_token = _language_token(config.language_token, tokenizer, source)
        longest = model.config.max_position_embeddings
        if config.max_tokens > longest:
            raise ModelError(f"translation.max_tokens is {config.max_tokens}; {source.name} takes {longest} at most")
        self._turn = threading.Lock()

    @classmethod
    def load(cls, config: Translation) -> Translator:
        """Load the model; see `pipeline.stages.translate.load_translator`, which keeps it, for what is raised."""
        source = find_translator(config)
        device = pick_device(config.device)
        tokenizer = _load_tokenizer(source.folder)
        model = _load_model(source.folder, pick_dtype(config.dtype, device)).to(device)
        if len(tokenizer) > model.config.vocab_size:
            raise ModelError(
                f"the vocabulary in {source.folder} has {len(tokenizer)} tokens, the model {model.config.vocab_size}"
            )
        return cls(config, source, tokenizer, model)

    @property
    def identity(self) -> dict[str, str]:
        """What a translation depends on, for provenance: model, revision, precision, search, versions."""
        return {
            "model": self.source.name,
            "revision": self.source.revision,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "language_token": self.language_token,
            "beams": str(self.config.beams),
            **{name: version(name) for name in ("torch", "transformers", "sentencepiece")},
        }

    def translate(self, texts: Sequence[str]) -> list[str]:
        """One translation for each of `texts`, in order; "" for a text of white space.

        Equal texts (but for white space) are translated once. Texts over `max_tokens` are cut there.
        """
        lines = [one_line(text) for text in texts]
        distinct = sorted({line for line in lines if line})  # sorted: batches do not depend on the order of the texts
        tokens = self.tokenize(distinct)
        translations = {"": ""}
        with self._turn, torch.inference_mode():
            for batch in batches_by_length(tokens, self.config.batch_tokens):
                answers = self._generate([tokens[i] for i in batch])
                translations.update(zip((distinct[i] for i in batch), answers, strict=True))
        return [translations[line] for line in lines]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text: the language token where there is one, at most `max_tokens`, the end token last."""
        if not texts:
            return []
        given = [f"{self.language_token} {text}" if self.language_token else text for text in texts]
        return self.tokenizer(given, truncation=True, max_length=self.config.max_tokens)["input_ids"]

    def _generate(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        lengths = torch.tensor([len(row) for row in tokens])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        ids = torch.full(mask.shape, self.model.config.pad_token_id)
        ids[mask] = torch.tensor([number for row in tokens for number in row])
        device = self.model.device
        output = self.model.generate(
            input_ids=ids.to(device), attention_mask=mask.long().to(device), generation_config=self._search()
        )
        texts = self.tokenizer.batch_decode(output, skip_special_tokens=True, use_source_tokenizer=False)
        return [to_simplified(one_line(text)) if self.config.simplified else one_line(text) for text in texts]

    def _search(self) -> GenerationConfig:
        """Beam search without chance; the padding token, from which the decoder starts, is no word."""
        known = self.model.config
        return GenerationConfig(
            num_beams=self.config.beams,
            do_sample=False,
            max_new_tokens=self.config.max_tokens,
            bad_words_ids=[[known.pad_token_id]],
            decoder_start_token_id=known.decoder_start_token_id,
            eos_token_id=known.eos_token_id,
            pad_token_id=known.pad_token_id,
        )


def batches_by_length(tokens: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Positions in `tokens`, in batches from short to long: as many as fit into `batch_tokens` with padding; at least one."""
    batch: list[int] = []
    for position in sorted(range(len(tokens)), key=lambda i: len(tokens[i])):
        if batch and (len(batch) + 1) * len(tokens[position]) > batch_tokens:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def find_translator(config: Translation) -> ModelFiles:
    """The local folder `config.model`, or that hub repository fetched into the hub's cache (at `revision`).

    Raises:
        ModelNotFound: folder, repository or one of its files is missing.
        ModelError: a local folder's weights are not the expected `revision`, or no model is named.
    """
    if config.model is None:
        raise ModelError("translation.model is null: there is no model to load")
    files = find_model(MODEL, config.model, config.revision)
    missing = [name for name in NEEDED if not (files.folder / name).is_file()]
    if missing:
        raise ModelNotFound(
            f"no {', '.join(missing)} in {files.folder}: copy all files of the published MarianMT model to it"
        )
    return files


def _load_tokenizer(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")  # it is loaded, but never called
        try:
            return MarianTokenizer.from_pretrained(folder)
        except Exception as error:  # sentencepiece and json have errors of their own
            raise ModelError(
                f"the tokenizer in {folder} cannot be read ({type(error).__name__}: {error}); fetch it again"
            ) from error


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
    kind = AutoConfig.from_pretrained(folder).model_type
    if kind != "marian":
        raise ModelError(f"{folder} holds a model of type {kind!r}; expected a MarianMT model (model_type 'marian')")
    showed = is_progress_bar_enabled()
    disable_progress_bar()  # it would run across the run's own
    try:
        model, report = MarianMTModel.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    except Exception as error:  # safetensors, zip and pickle readers each have errors of their own
        raise ModelError(f"the weights in {folder} cannot be loaded ({type(error).__name__}: {error})") from error
    finally:
        if showed:
            enable_progress_bar()
    wrong = [name for kind in ("missing_keys", "mismatched_keys") for name in report[kind]]
    if wrong:
        raise ModelError(
            f"the weights in {folder} lack {len(wrong)} tensors, or hold them in other shapes: {wrong[:5]}"
        )
    return model.eval().requires_grad_(False)


def _language_token(asked: str | None, tokenizer: Any, source: ModelFiles) -> str:
    known = tokenizer.supported_language_codes
    if asked is None:
        return MANDARIN if MANDARIN in known else ""
    if asked and asked not in known:
        raise ModelError(
            f"translation.language_token is {asked!r}; {source.name} knows {', '.join(known) or 'none: it has one target'}"
        )
    return asked
