"""The arguments of commands that work on a run: the recipe, the run's folder, and the options for Beam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from foundation.errors import InvalidInput
from foundation.log import quiet_libraries

WORDS = "[RECIPE] [RUN]"  # how help names the words of one variadic argument
RECIPE_SUFFIXES = (".yaml", ".yml")

RunFolder = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="The run's folder or URL (s3://, gs://, az://).", show_default=False),
]
RunAddress = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="The run's folder or URL (s3://, gs://, az://, https://).", show_default=False),
]
RunOption = Annotated[str | None, typer.Option("--run", metavar="RUN", help="The run, instead of the argument.")]


class BeamCommand(TyperCommand):
    """A command that passes what follows `--` to Beam, as `context.args`; words before it are its own.

    An option that Beam does not know is refused before any work.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words before the first `--`; one that is left over is refused."""
        end = args.index("--") if "--" in args else len(args)
        super().parse_args(ctx, args[:end])
        ctx.args = args[end + 1 :]
        return ctx.args

    def invoke(self, ctx: Any) -> Any:
        """Run the command, once the options are known to be Beam's."""
        from pipeline.api import check_beam_options

        quiet_libraries()
        check_beam_options(ctx.args)
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """For the first line of the help."""
        pieces = super().collect_usage_pieces(ctx)
        return [*(piece.replace(f"[{WORDS}]...", WORDS) for piece in pieces), "[-- BEAM OPTIONS]"]


def recipe_and_run(words: Sequence[str], option: str | None, command: str) -> tuple[str | None, str]:
    """The recipe (None: the one that the run was started with) and the run's folder or url.

    Of two words the first is the recipe. A single word is a recipe where it begins with `builtin:`, ends in .yaml or .yml, or is
    a file; else it is the run's folder.

    Args:
        words: of the command line, without options.
        option: what --run says.
        command: its name, for messages.

    Raises:
        InvalidInput: no folder, two that differ, or a word too many.
    """
    if len(words) > 2:
        raise InvalidInput(f"expected zhclip {command} [RECIPE] [RUN]; found {len(words)} words: {' '.join(words)}")
    if len(words) == 2:
        recipe, word = words
        if names_recipe(word) and not names_recipe(recipe):
            raise InvalidInput(f"the recipe comes first: zhclip {command} {word} {recipe}")
        return recipe, _folder(word, option, command)
    if words and not names_recipe(words[0]):
        return None, _folder(words[0], option, command)
    return (words[0] if words else None), _folder(None, option, command)


def _folder(word: str | None, option: str | None, command: str) -> str:
    usage = f"zhclip {command} RECIPE RUN, where RUN is a new folder or that of a run"
    return named_run(word, option, usage, " (a recipe's name ends in .yaml, or begins with builtin:)")


def names_recipe(word: str) -> bool:
    """Whether a single word is a recipe rather than a run's folder."""
    from pipeline.recipe.builtin import PREFIX  # here: it costs half a second, and only some commands need it

    path = Path(word)
    return word.startswith(PREFIX) or (path.suffix in RECIPE_SUFFIXES and not path.is_dir()) or path.is_file()


def named_run(word: str | Path | None, option: str | None, usage: str, hint: str = "") -> str:
    """The run that a command's argument or its `--run` names.

    Args:
        usage: how to name it, for messages.
        hint: what else a word may be, for messages.

    Raises:
        InvalidInput: neither does, or they differ.
    """
    if word is not None and option is not None and _address(word) != _address(option):
        raise InvalidInput(f"two folders of a run: {word}, and {option} as --run; name one{hint}")
    run = word if word is not None else option
    if run is None:
        raise InvalidInput(f"which run? Name it: {usage}")
    return str(run)


def _address(run: str | Path) -> str:
    return str(run).rstrip("/") if "://" in str(run) else str(Path(run).absolute())
