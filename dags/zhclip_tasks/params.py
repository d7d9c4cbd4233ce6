"""What can be set for a DAG run, typed: Airflow refuses a run whose params do not fit, and makes a form of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

# Nothing that begins with "-" can be taken for an option, nothing is empty.
TEXT = {"minLength": 1, "pattern": "^[^-]"}
OVERRIDE = {"type": "string", "pattern": r"^\w[\w.-]*="}


def text(description: str, **more: Any) -> Param:
    """A text that has to be given."""
    return Param(type="string", description=description, **TEXT, **more)


def optional(description: str, **more: Any) -> Param:
    """A text that may be left out."""
    return Param(None, type=["null", "string"], description=description, **TEXT, **more)


def overrides(what: str, **more: Any) -> Param:
    """`key.path=value`, any number of them."""
    return lines(f"{what}: key.path=value, one a line", OVERRIDE, **more)


def lines(description: str, item: dict[str, str], **more: Any) -> Param:
    """Any number of texts; a form that is left empty gives null."""
    return Param(None, type=["null", "array"], items=item, description=description, **more)


def curation() -> dict[str, Param]:
    """How a run is curated, checked and reported."""
    return {
        "overrides": overrides("Recipe values to override"),
        "workers": Param(
            None, type=["null", "integer"], minimum=1, description="Shards at a time; empty: as many as there are cores"
        ),
        "beam_options": lines("Options for Beam, one a line", {"type": "string", "pattern": "^--"}),
    }


def training() -> dict[str, Param]:
    """The part that is optional."""
    section = {"section": "Pretraining"}
    return {
        "train": Param(False, type="boolean", description="Pretrain when the gate has passed?", **section),
        "preset": Param(
            "vit-b-16", type="string", description="A preset of the trainer, or a YAML file", **TEXT, **section
        ),
        "training": optional("Folder for checkpoints; empty: RUN-training", **section),
        "training_overrides": overrides("Training values to override", **section),
        "evaluation_set": optional("Retrieval set for the last checkpoint; empty: no evaluation", **section),
        "evaluation_split": optional("Its split, where its layout has several", **section),
    }


def overlaid(known: Mapping[str, Param], stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Params of a scheduled DAG: a Variable's values, and over them those that a run was given.

    Raises:
        AirflowFailException: the Variable holds a name or a value that no param has, or a text is in neither.
    """
    for name, value in stored.items():
        try:
            known[name].resolve(value)
        except (KeyError, ParamValidationError) as error:
            why = f"no such param; there are {', '.join(known)}" if isinstance(error, KeyError) else str(error)
            raise AirflowFailException(f"the Variable zhclip_refresh, {name}: {why}") from None
    params = {**given, **stored, **{name: value for name, value in given.items() if value is not None}}
    missing = [name for name in ("recipe", "folder") if not params[name]]
    if missing:
        raise AirflowFailException(
            f"the Variable zhclip_refresh (JSON), or the params of this run, must name {' and '.join(missing)}"
        )
    return params
