"""An import contract of its own kind: the layers of `pipeline/stages/` in the order of the registry.

A list of layers in pyproject.toml would be a second list of all stages. `lint-imports` reads this class through `contract_types`.
"""

from __future__ import annotations

from typing import Any

from importlinter.contracts.layers import LayersContract
from importlinter.domain import fields

from pipeline.stages.registry import STAGES

CONTAINER = "pipeline.stages"


class StagesContract(LayersContract):
    """Each stage may import those before it in the registry; what lies in the folder and is no stage has its layer named.

    Options: `above`, layers of modules that stand on all stages; `below`, of those that all stages stand on.
    """

    above = fields.ListField(subfield=fields.StringField())
    below = fields.ListField(subfield=fields.StringField())

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        layers = [*contract_options["above"], *reversed(stage_modules()), *contract_options["below"]]
        derived = {"layers": layers, "containers": [CONTAINER], "exhaustive": "true"}
        super().__init__(name, session_options, {**contract_options, **derived})


def stage_modules() -> list[str]:
    """Names in `pipeline/stages/` of the modules and packages that hold the stages, in the order of the flow."""
    modules = (type(stage).__module__.removeprefix(f"{CONTAINER}.").partition(".")[0] for stage in STAGES.values())
    return list(dict.fromkeys(modules))
