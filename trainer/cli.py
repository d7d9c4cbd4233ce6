"""The trainer's commands, which are part of `zhclip`; torchrun starts `train` alone as `python -m trainer`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from foundation.console import announce
from foundation.errors import EXIT_INTERRUPTED, InvalidInput
from foundation.extras import need
from trainer.threads import sleep_while_waiting

evaluate_app = typer.Typer(no_args_is_help=True, help="Evaluate a checkpoint.")

Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a value: key.path=value (repeatable).")]
Checkpoint = Annotated[
    Path, typer.Argument(help="A checkpoint of this trainer or of cn_clip (.pt), or a Hugging Face folder.")
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Preset of a checkpoint from another program; this trainer's own name theirs."),
]


def add_commands(app: typer.Typer) -> None:
    """Add train, evaluate, ablate and export to a command line."""
    app.command()(train)
    app.command("ablate")(ablate_command)
    app.command()(export)
    app.add_typer(evaluate_app, name="evaluate")


def train(
    recipe: Annotated[
        str, typer.Argument(help="A preset (rn50, vit-b-16, vit-l-14, vit-l-14-336, vit-h-14, tiny) or a YAML file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and logs; an existing one is continued.")],
    data: Annotated[list[str] | None, typer.Option(help="A published dataset folder (repeatable).")] = None,
    where: Annotated[str | None, typer.Option(help="Train only on pairs that meet this SQL condition.")] = None,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over even if there are checkpoints.")] = False,
    stages: Annotated[
        int | None, typer.Option(help="Stop after this many of the recipe's stages; run again to continue.", min=1)
    ] = None,
) -> None:
    """Pretrain Chinese CLIP on curated shards, in the recipe's stages.

    zhclip train vit-b-16 --data runs/first/dataset --out runs/pretrain
    zhclip train vit-b-16 --data runs/first/dataset --out runs/long --where "clip_score > 0.3 and length(caption) > 8"
    torchrun --nproc-per-node 8 -m trainer vit-b-16 --data runs/first/dataset --out runs/pretrain

    Run the same command again to continue. SIGTERM, SIGHUP and Ctrl-C save a checkpoint after the current step; exit code 130.
    """

    _prepare("zhclip train")
    from trainer.config import load_train_recipe
    from trainer.distributed import join_world
    from trainer.pin import pin_recipe
    from trainer.train import DONE, Trainer

    sets = list(overrides or ())
    sets += [f"data.shards={json.dumps(data)}"] if data else []
    sets += [f"data.where={json.dumps(where)}"] if where else []
    loaded = load_train_recipe(recipe, sets)
    with join_world() as world:
        trainer = Trainer(loaded, out, world)  # opens the data first: a mistyped path leaves no folder behind
        pin_recipe(out, loaded, world)
        ended = trainer.run(not fresh, stages)
        if world.first:
            announce("train", f"{ended}: {out}", ended=ended, folder=str(out))
    if ended != DONE:
        raise typer.Exit(EXIT_INTERRUPTED)


def ablate_command(
    recipe: Annotated[str, typer.Argument(help="A preset or a YAML file, as for train.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the training runs and the result; an existing one is continued.")
    ],
    data: Annotated[list[str], typer.Option(help="NAME=FOLDER of a published dataset (at least two).")],
    evaluate_on: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of an evaluation set (repeatable).")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds, counted from 0.")] = 3,
    where: Annotated[str | None, typer.Option(help="Train only on pairs that meet this SQL condition.")] = None,
    overrides: Overrides = None,
) -> None:
    """Find which dataset trains the better model: the same training on each, with equal steps and several seeds.

    zhclip ablate tiny --data curated=runs/first/dataset --data raw=runs/raw/dataset --evaluate-on muge=data/MUGE --out ablation

    Writes ablation.json and ablation.png beside the training runs. With torchrun: torchrun --no-python zhclip ablate …
    """

    _prepare("zhclip ablate")
    from trainer.ablate import ablate
    from trainer.ablate_report import ablation_table, verdicts, write_ablation
    from trainer.config import load_train_recipe
    from trainer.distributed import join_world

    sets = list(overrides or ())
    sets += [f"data.where={json.dumps(where)}"] if where else []
    sets += [f"evaluation.sets={json.dumps(_named(evaluate_on, '--evaluate-on'))}"] if evaluate_on else []
    loaded = load_train_recipe(recipe, sets)
    with join_world() as world:
        results = ablate(loaded, _named(data, "--data"), range(seeds), out, world)
        if world.first:
            write_ablation(results, out)
            console = Console()
            console.print(ablation_table(results), *verdicts(results), f"{out}/ablation.png", sep="\n", highlight=False)


def _named(options: list[str], option: str) -> dict[str, str]:
    """NAME=FOLDER options as a mapping."""
    parts = [text.partition("=") for text in options]
    wrong = [text for text, (name, sign, path) in zip(options, parts, strict=True) if not (name and sign and path)]
    if wrong:
        raise InvalidInput(f"{option} {wrong[0]}: expected NAME=FOLDER, such as curated=runs/first/dataset")
    named = {name: path for name, _, path in parts}
    if len(named) < len(options):
        raise InvalidInput(f"{option}: each needs a name of its own; found {', '.join(name for name, _, _ in parts)}")
    return named


@evaluate_app.command("retrieval")
def evaluate_retrieval_command(
    checkpoint: Checkpoint,
    data: Annotated[
        str, typer.Argument(help="MUGE, Flickr30K-CN, COCO-CN, Chinese-CLIP's layout, or a published folder.")
    ],
    model_name: ModelName = None,
    split: Annotated[str | None, typer.Option(help="Split to evaluate, if the data has several.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images or captions encoded at a time.")] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure zero-shot retrieval: recall at 1, 5 and 10 in both directions, beside the paper's figures.

    zhclip evaluate retrieval runs/pretrain/checkpoint-00010000.pt data/MUGE --split valid
    """

    _prepare("zhclip evaluate retrieval")
    import torch

    from trainer.checkpoint import open_model
    from trainer.evaluate.datasets import EvaluationSet
    from trainer.evaluate.paper import size_of
    from trainer.evaluate.report import evaluate_retrieval, retrieval_report, retrieval_table

    model = open_model(checkpoint, model_name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    evaluation_set = EvaluationSet.load(data, split)
    result = evaluate_retrieval(
        model.to(device), evaluation_set, model.config.vision.image_size, batch_size, device, torch.float32
    )
    if as_json:
        print(json.dumps(retrieval_report(result, evaluation_set, size_of(model.config)), ensure_ascii=False))
    else:
        Console().print(retrieval_table(result, evaluation_set, size_of(model.config)))


def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="Where to write: a folder (huggingface) or a .pt file (cn_clip).")],
    model_name: ModelName = None,
    to: Annotated[Literal["huggingface", "cn_clip"], typer.Option(help="The format to write.")] = "huggingface",
) -> None:
    """Write a checkpoint in a format that other libraries load.

    zhclip export runs/pretrain/checkpoint-00010000.pt exported --to huggingface
    """

    _prepare("zhclip export")
    from trainer.checkpoint import open_model
    from trainer.models.exchange import save_cn_clip, save_transformers

    model = open_model(checkpoint, model_name)
    (save_transformers if to == "huggingface" else save_cn_clip)(model, out)
    announce("export", f"written: {out}", path=str(out))


def _prepare(command: str) -> None:
    """Check that what the command needs is installed, and settle what has to be before torch is loaded."""
    need("train", command)
    sleep_while_waiting()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of its own names, to its users
