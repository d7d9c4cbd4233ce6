"""The two towers, loaded from what others published: Multilingual-CLIP's text tower and open_clip's image tower."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.initialization import no_init_weights

from foundation.hub import (
    IMAGE_WEIGHTS,
    ModelError,
    ModelFiles,
    ModelNotFound,
    ModelSetting,
    digest,
    find_weights,
    revision_of,
)
from foundation.weights import read_state
from pipeline.stages.score.images import Preprocessor

# Buffers that older transformers stored, and a layer whose output Multilingual-CLIP does not use.
HARMLESS = ("transformer.embeddings.position_ids", "transformer.pooler.")
VOCABULARIES = (
    "tokenizer.json",
    "sentencepiece.bpe.model",
    "vocab.txt",
)  # XLM-R has either of the first two, LaBSE the last
# open_clip 3.3 points this tag's hub entry at the repository of epoch 31; its plain address holds epoch 32.
WRONG_ON_HUB = {("ViT-B-16-plus-240", "laion400m_e32")}


TEXT_MODEL = ModelSetting(
    name="text_model",
    revision_name="text_revision",
    example="M-CLIP/NAME",
    small_files=("*.json", "*.txt", "*.model", "base/*.json"),  # configurations and every kind of tokenizer
    contents="config.json, tokenizer files",
)


@dataclass(frozen=True)
class TextTower:
    """A transformer, averaged over the tokens of a caption, then one linear layer."""

    source: ModelFiles
    tokenizer: Any
    transformer: Any  # a PreTrainedModel of transformers
    head: nn.Linear  # always float32: it costs nothing and its input is the float32 mean

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.head.out_features

    def tokenize(self, captions: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Token numbers per caption, start and end included, cut to `max_tokens`."""
        if not captions:
            return []
        return self.tokenizer(list(captions), truncation=True, max_length=max_tokens)["input_ids"]

    def encode(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """float32 (n, dim) on the tower's device, not normalised; padded to the longest of `tokens`."""
        lengths = torch.tensor([len(row) for row in tokens])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        ids = torch.full(mask.shape, self.tokenizer.pad_token_id)
        ids[mask] = torch.tensor([number for row in tokens for number in row])
        ids, mask = ids.to(self.head.weight.device), mask.to(self.head.weight.device)
        hidden = self.transformer(input_ids=ids, attention_mask=mask.long())[0].float()
        return self.head((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


@dataclass(frozen=True)
class ImageTower:
    """The visual half of an open_clip model, with the transform it was trained for."""

    source: ModelFiles
    visual: nn.Module
    preprocessor: Preprocessor
    dim: int  # length of an embedding
    device: torch.device
    dtype: torch.dtype

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (n, height, width, 3) to float32 (n, dim) on the tower's device, not normalised."""
        return self.visual(self.preprocessor.normalize(pixels.to(self.device), self.dtype)).float()


def load_text_tower(source: ModelFiles, device: torch.device, dtype: torch.dtype, max_tokens: int) -> TextTower:
    """Build the architecture that config.json names as `modelBase` and fill it with the published weights.

    The class in the multilingual-clip package fetches the base model's own weights first, only to overwrite them, and
    fails on transformers 5. Raises ModelNotFound or ModelError saying what is missing or does not fit.
    """
    state = read_state(source.weights)
    weight = state.get("LinearTransformation.weight")
    if weight is None:
        raise ModelError(f"{source.folder} is no Multilingual-CLIP text model: no LinearTransformation.weight in it")
    config = _base_config(source.folder)
    with no_init_weights():  # every weight is about to be overwritten; random numbers for XLM-R-Large take 9 s
        transformer = AutoModel.from_config(config, dtype=dtype)
        head = nn.Linear(weight.shape[1], weight.shape[0])
    model = nn.ModuleDict({"transformer": transformer, "LinearTransformation": head})
    _fill(model, state, source.folder)
    model.eval().requires_grad_(False).to(device)
    tower = TextTower(source, _tokenizer(source.folder, config), transformer, head)
    _check_tokens(tower, max_tokens)
    return tower


def _base_config(folder: Path) -> Any:
    """The base architecture: a folder that `modelBase` names, else base/config.json, else a hub id."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelNotFound(f"no config.json in {folder}: copy the one published with the text model")
    base = json.loads(path.read_text(encoding="utf-8")).get("modelBase")
    if not isinstance(base, str):
        raise ModelError(f"{path} has no 'modelBase': it is not the configuration of a Multilingual-CLIP text model")
    folders = [folder / base, folder / "base"]  # an absolute `base` stands for itself
    local = next((candidate for candidate in folders if (candidate / "config.json").is_file()), None)
    try:
        return AutoConfig.from_pretrained(local or base)
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            f"{path} names the base model {base!r}, whose config.json could not be had: {error}\n"
            f"Without the hub, put that config.json (no weights are needed) at {folder / 'base' / 'config.json'}"
        ) from error


def _fill(model: nn.Module, state: dict[str, torch.Tensor], folder: Path) -> None:
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes differ
        raise ModelError(f"the weights in {folder} do not fit the architecture in its modelBase: {error}") from error
    for kind, names in (("lack", missing), ("hold unknown", unexpected)):
        wrong = [name for name in names if not name.startswith(HARMLESS)]
        if wrong:
            raise ModelError(f"the weights in {folder} {kind} {len(wrong)} tensors: {', '.join(wrong[:5])} …")


def _tokenizer(folder: Path, config: Any) -> Any:
    advice = f"copy tokenizer_config.json and one of {', '.join(VOCABULARIES)} from the published text model to it"
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ModelNotFound(f"no tokenizer in {folder}: {advice}")  # transformers would make up an empty one
    try:
        return AutoTokenizer.from_pretrained(folder, config=config)
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotFound(f"no usable tokenizer in {folder} ({error}): {advice}") from error


def _check_tokens(tower: TextTower, max_tokens: int) -> None:
    config, folder = tower.transformer.config, tower.source.folder
    if len(tower.tokenizer) > config.vocab_size:
        raise ModelError(f"the tokenizer in {folder} has {len(tower.tokenizer)} tokens, the model {config.vocab_size}")
    # RoBERTa counts positions from after the padding token's number; BERT from 0.
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    if max_tokens > config.max_position_embeddings - offset:
        raise ModelError(
            f"max_tokens is {max_tokens}; {folder} takes {config.max_position_embeddings - offset} at most"
        )


def load_image_tower(image_model: str, device: torch.device, dtype: torch.dtype) -> ImageTower:
    """The visual tower of a local open_clip folder or of 'NAME:PRETRAINED'; open_clip's text tower is let go.

    Raises ModelNotFound or ModelError saying what is missing or unknown.
    """
    folder = Path(image_model).expanduser()
    source, options = _local_image(folder) if folder.is_dir() else _named_image(image_model)
    try:
        visual = open_clip.create_model(precision="fp32", pretrained_text=False, **options).visual
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"image_model {image_model!r} could not be loaded by open_clip: {error}") from error
    preprocessor = Preprocessor(visual.preprocess_cfg)
    visual.eval().requires_grad_(False)
    with torch.inference_mode():
        dim = visual(torch.zeros(1, 3, preprocessor.height, preprocessor.width)).shape[-1]
    return ImageTower(source, visual.to(device, dtype), preprocessor, dim, device, dtype)


def _local_image(folder: Path) -> tuple[ModelFiles, dict[str, Any]]:
    if not (folder / "open_clip_config.json").is_file():
        raise ModelNotFound(f"no open_clip_config.json in {folder}: it must lie beside the weights")
    weights = find_weights(folder, IMAGE_WEIGHTS)
    return ModelFiles(folder.resolve().name, digest(weights), folder, weights), {"model_name": f"local-dir:{folder}"}


def _named_image(image_model: str) -> tuple[ModelFiles, dict[str, Any]]:
    name, _, pretrained = image_model.partition(":")
    if not pretrained:
        raise ModelNotFound(f"image_model {image_model!r} is neither a folder here nor 'NAME:PRETRAINED'")
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        raise ModelError(f"open_clip knows no model {name!r}; near names: {', '.join(near) or 'none'}")
    file = Path(pretrained).expanduser()
    if file.is_file():
        source = ModelFiles(f"{name}:{file.name}", digest([file]), file.parent, (file,))
        return source, {"model_name": name, "pretrained": str(file)}
    return _tagged_image(name, pretrained)


def _tagged_image(name: str, tag: str) -> tuple[ModelFiles, dict[str, Any]]:
    card = get_pretrained_cfg(name, tag)
    if not card:
        tags = ", ".join(list_pretrained_tags_by_model(name))
        raise ModelNotFound(f"{tag!r} is neither a weights file here nor one of {name}'s tags: {tags}")
    try:
        file = Path(download_pretrained(card, prefer_hf_hub=(name, tag) not in WRONG_ON_HUB))
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelNotFound(
            f"image model '{name}:{tag}' could not be fetched: {error}\nFetch its weights where the network reaches "
            f"them and set image_model to '{name}:PATH' or to a folder with open_clip_config.json and the weights"
        ) from error
    # create_model takes these from the tag only if it fetches by the tag. OpenAI's weights need QuickGELU, which plain
    # names such as ViT-B-32 do not have: open_clip then only warns, and embeds wrongly.
    options = {"model_name": name, "pretrained": str(file), "force_preprocess_cfg": card}
    if card.get("quick_gelu"):
        options["force_quick_gelu"] = True
    return ModelFiles(f"{name}:{tag}", revision_of(file), file.parent, (file,)), options
