"""Write the JSON schemas of what ``tileskip-run`` prints: ``python -m toolchain.dev.schemas``.

They follow from the models that read it, so the two cannot differ; a test holds that what is
committed in ``docs/schemas`` is what these give.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from toolchain.profile.runner_output import RunnerOutput
from toolchain.tflite_file.plan import RunnerPlan

FOLDER = Path("docs/schemas")
SCHEMAS: dict[str, type[BaseModel]] = {
    "tileskip-run.json": RunnerOutput,
    "tileskip-run-plan.json": RunnerPlan,
}


def schema_text(kind: type[BaseModel]) -> str:
    """A model's schema as the file has it."""
    return json.dumps(kind.model_json_schema(by_alias=True), indent=2) + "\n"


def main() -> int:
    """Write every schema; returns the exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, kind in SCHEMAS.items():
        (FOLDER / name).write_text(schema_text(kind), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
