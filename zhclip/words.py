"""The arguments of commands that work on a run: the recipe, the run's folder, and the options for Beam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from foundation.errors import InvalidInput

WORDS = "[RECIPE] [RUN]"  # how help names the words of one variadic argument
RECIPE_SUFFIXES = (".yaml", ".yml")


class BeamCommand(TyperCommand):
    """A command that passes what follows `--` to Beam, as `context.args`; words before it are its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words before the first `--`; one that is left over is refused."""
        end = args.index("--") if "--" in args else len(args)
        super().parse_args(ctx, args[:end])
        ctx.args = args[end + 1 :]
        return ctx.args

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """For the first line of the help."""
        pieces = super().collect_usage_pieces(ctx)
        return [*(piece.replace(f"[{WORDS}]...", WORDS) for piece in pieces), "[-- BEAM OPTIONS]"]


def recipe_and_run(words: Sequence[str], option: Path | None, command: str) -> tuple[str | None, Path]:
    """The recipe (None: the one that the run was started with) and the run's folder.

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
        return recipe, _folder(Path(word), option, command)
    if words and not names_recipe(words[0]):
        return None, _folder(Path(words[0]), option, command)
    return (words[0] if words else None), _folder(None, option, command)


def names_recipe(word: str) -> bool:
    """Whether a single word is a recipe rather than a run's folder."""
    from pipeline.recipe.builtin import PREFIX  # here: it costs half a second, and only some commands need it

    path = Path(word)
    return word.startswith(PREFIX) or (path.suffix in RECIPE_SUFFIXES and not path.is_dir()) or path.is_file()


def _folder(word: Path | None, option: Path | None, command: str) -> Path:
    if word is not None and option is not None and word.absolute() != option.absolute():
        raise InvalidInput(
            f"two folders of a run: {word}, and {option} as --run; name one (a recipe's name ends in .yaml, or begins with "
            "builtin:)"
        )
    folder = word if word is not None else option
    if folder is None:
        raise InvalidInput(f"which run? Name its folder, a new one or that of a run: zhclip {command} RECIPE RUN")
    return folder
