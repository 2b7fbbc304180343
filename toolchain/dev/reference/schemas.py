"""JSON Schemas of the documents that commands read and write, from their models."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from toolchain.board.description import Description
from toolchain.board.detect import DetectedObjects
from toolchain.build.bundle import Manifest
from toolchain.convert.result import Conversion
from toolchain.demo import DemoResult
from toolchain.dev.reference.attributes import attribute_docs, markdown
from toolchain.dev.reference.tables import table
from toolchain.doctor.checkup import Checkup
from toolchain.doctor.finding import Diagnosis
from toolchain.evaluation.document import Detection, Evaluation
from toolchain.hardware.board_file import Board
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.gain_document import Gain
from toolchain.profile.history import Run
from toolchain.profile.new_board import NewBoard
from toolchain.profile.result_document import Result
from toolchain.profile.runner_output import RunnerOutput
from toolchain.profile.series import Trends
from toolchain.report.page.view import Report
from toolchain.sweep.document import SweepResults
from toolchain.sweep.spec import Sweep
from toolchain.tflite_file.inspection import Inspection
from toolchain.tflite_file.plan import RunnerPlan
from toolchain.train.new_recipe import NewRecipes
from toolchain.train.recipe import Recipe
from toolchain.train.run import PlanReport, TrainingReport


class Document(NamedTuple):
    """A document that has a schema."""

    name: str
    model: type[Any]
    """A model of pydantic's or a dataclass."""
    what: str
    mode: JsonSchemaMode = "serialization"


DOCUMENTS = (
    Document("board", Board, "a board file (TOML)", "validation"),
    Document("recipe", Recipe, "a recipe (TOML)", "validation"),
    Document("sweep", Sweep, "a sweep (TOML)", "validation"),
    Document("training", TrainingReport, "`deploy train --json`"),
    Document("training-plan", PlanReport, "`deploy train --check --json`"),
    Document("new-recipes", NewRecipes, "`deploy recipe new --json`"),
    Document("conversion", Conversion, "`deploy convert --json`"),
    Document("inspection", Inspection, "`deploy inspect --json`"),
    Document("manifest", Manifest, "`manifest.json` of a bundle; also `deploy build --json`"),
    Document(
        "profile", Profile, "`deploy profile --output` and `deploy profile --json`", "validation"
    ),
    Document("history", Run, "a line of `deploy profile --history`", "validation"),
    Document("series", Trends, "`deploy history --json`"),
    Document(
        "estimate",
        Estimate,
        "`deploy estimate --output` and `deploy estimate --json`",
        "validation",
    ),
    Document("gain", Gain, "`deploy gain --output` and `deploy gain --json`", "validation"),
    Document("evaluation", Evaluation, "`deploy evaluate --output` and `deploy evaluate --json`"),
    Document("box-evaluation", Detection, "the same of detectors"),
    Document("result", Result, "what `toolchain.profile.results.read_result` returns"),
    Document("new-board", NewBoard, "`deploy boards add --json`"),
    Document("board-description", Description, "an entry of `deploy boards show --json`"),
    Document("checkup", Checkup, "`deploy boards check --json`"),
    Document("diagnosis", Diagnosis, "`deploy doctor --json`; also `findings.json` of its archive"),
    Document(
        "sweep-results",
        SweepResults,
        "`sweep.json` of a sweep; also `deploy sweep --json`",
        "validation",
    ),
    Document("report", Report, "`deploy report --json`"),
    Document("detection", DetectedObjects, "`deploy detect --json`"),
    Document("demo", DemoResult, "`build/demo/demo.json`; also `deploy demo --json`"),
    Document("runner", RunnerOutput, "`tileskip-run --json`", "validation"),
    Document("runner-plan", RunnerPlan, "`tileskip-run --plan --json`", "validation"),
)


_OWN_PAGE = (Board, Recipe, RunnerOutput, RunnerPlan, Sweep)
"""Those whose keys stand on a page of their own."""


class _Described(GenerateJsonSchema):
    """Schemas whose properties say what the source says of the attributes."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """The schema of a model."""
        return _describe(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        """The schema of a dataclass."""
        return _describe(super().dataclass_schema(schema), schema["cls"])


def _describe(made: dict[str, Any], kind: type) -> dict[str, Any]:
    docs = attribute_docs(kind)
    fields = getattr(kind, "model_fields", {})
    aliases = {item.alias: name for name, item in fields.items() if item.alias}
    for name, said in made.get("properties", {}).items():
        said.pop("title", None)
        text = docs.get(aliases.get(name, name)) or markdown(said.get("description", ""))
        if text:
            said["description"] = text.replace("`None`", "`null`")
    if kind.__doc__:
        made["description"] = markdown(kind.__doc__)
    return made


def schema(document: Document) -> str:
    """A document's JSON Schema."""
    made = TypeAdapter(document.model).json_schema(
        by_alias=True, schema_generator=_Described, mode=document.mode
    )
    if document.model is Board:
        # The file's own name is the board's.
        made["properties"].pop("name")
        made["required"].remove("name")
    if "$ref" in made:  # a model that stands in itself, or in another of its parts
        made = {**made["$defs"][made["$ref"].rpartition("/")[2]], **made}
        del made["$ref"]
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def documents() -> str:
    """A section for each document: its schema, and a table of its outermost keys."""
    head = table(
        ("document", "schema"),
        [(item.what, f"[{item.name}.json](schemas/{item.name}.json)") for item in DOCUMENTS],
    )
    rest = [item for item in DOCUMENTS if item.model not in _OWN_PAGE]
    return "\n\n".join([head, *(_section(item) for item in rest)])


def _section(document: Document) -> str:
    made = json.loads(schema(document))
    rows = [
        (f"`{name}`", _kind(said), said.get("description", ""))
        for name, said in made["properties"].items()
    ]
    title = document.name.replace("-", " ").capitalize()
    return f"## {title}\n\n{document.what[:1].upper()}{document.what[1:]}.\n\n" + table(
        ("key", "type", "meaning"), rows
    )


def _kind(said: dict[str, Any]) -> str:
    if "anyOf" in said:
        return " or ".join(_kind(item) for item in said["anyOf"])
    if "$ref" in said:
        return f"`{said['$ref'].rpartition('/')[2]}`"
    if "const" in said:
        return f"`{json.dumps(said['const'])}`"
    if "enum" in said:
        return ", ".join(f"`{json.dumps(item)}`" for item in said["enum"])
    if said.get("type") == "array":
        return f"list of {_kind(said['items'])}" if "items" in said else "list"
    return str(said.get("type", "any"))
