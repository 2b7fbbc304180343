"""What every JSON of ``tileskip-run`` holds, as strict models.

The C++ side is ``runtime_patch/runner``; ``docs/reference/runner.md`` says what each figure is.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
PUSH_AGAIN = "the board may have another version's runner: push the bundle again"


class RunnerObject(BaseModel):
    """An object of such a JSON: nothing more and nothing less than its keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class RunnerVersions(RunnerObject):
    """What the runner was made from; ``tileskip-run --version`` prints this alone."""

    version: str
    patched: bool
    """Whether masked convolutions are skipped; False in a ``--stock`` bundle."""
    tflite: str
    xnnpack: str
    """The commit."""
    compiler: str


class ModelFile(RunnerObject):
    """The model as the runner was given it."""

    path: str
    bytes: Count


class Delegation(RunnerObject):
    """How much of the graph XNNPACK runs."""

    used: bool
    partitions: Count
    nodes: Count
    """Operators of the model's main graph, before delegation."""
    nodes_delegated: Count
