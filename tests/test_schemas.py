"""The JSON Schemas under `docs/schemas/` are what the code writes: report, plan, events.

`python tests/test_schemas.py` writes them.
"""

import collections.abc
import inspect
import json
import types
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from cli_machine import Program
from golden.story import CASES, read

from orchestrator.cli.plan import SCHEMA as PLAN
from orchestrator.core.events import KINDS
from orchestrator.core.evidence import Block
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Scope, Target
from orchestrator.report import render
from orchestrator.report.formats.events import _OURS
from orchestrator.report.view import view

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "docs" / "schemas"
DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
TEXT, NUMBER, COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
TIME = {"type": ["string", "null"], "description": "RFC 3339 in UTC."}


def report_schema() -> dict[str, Any]:
    return json.loads((ROOT / "orchestrator" / "report" / "schema.json").read_text(encoding="utf-8"))


class Defs:
    """Makes the schemas of types as `to_json` writes them; what is at its default may be left out."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.of(one) for one in args]}
        if origin is not None and issubclass(origin, collections.abc.Mapping):
            return {"type": "object", "additionalProperties": self.of(args[1])}
        if origin is not None and issubclass(origin, collections.abc.Iterable):
            return {"type": "array", "items": self.of(args[0]) if args and len(set(args) - {...}) == 1 else {}}
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return {"enum": [one.value for one in kind]}
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(kind)
        return {str: TEXT, int: {"type": "integer"}, float: {"type": ["number", "null"]}, bool: {"type": "boolean"},
                type(None): {"type": "null"}, Scope: TEXT}.get(kind, {})  # fmt: skip

    def struct(self, kind: type) -> dict[str, Any]:
        if kind.__name__ not in self.found:
            self.found[kind.__name__] = {}
            properties = self.fields(kind)
            self.found[kind.__name__] = {"type": "object", "properties": properties, "required": needed(kind)}
        return {"$ref": f"#/$defs/{kind.__name__}"}

    def fields(self, kind: type) -> dict[str, Any]:
        hints = typing.get_type_hints(kind)
        return {one.name.removesuffix("_"): self.of(hints[one.name]) for one in msgspec.structs.fields(kind)}


def needed(kind: type) -> list[str]:
    return [one.name.removesuffix("_") for one in msgspec.structs.fields(kind) if one.required]


def events_schema() -> dict[str, Any]:
    head, defs, kinds = {"run": TEXT, "stream": TEXT, "seq": COUNT, "at": TIME}, Defs(), []
    for kind, cls in sorted(KINDS.items()):
        fields = {_OURS.get(name, name): it for name, it in defs.fields(cls).items()}
        own = [_OURS.get(name, name) for name in needed(cls)]
        said = {"title": kind, "description": inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]}
        shape = {"properties": {**head, "event": {"const": kind}, **fields}}
        kinds.append({**said, "type": "object", **shape, "required": [*head, "event", *own]})
    title = {"title": "a line of the format `events`", "description": "One fact of a run. Fields are only ever added."}
    return {**DRAFT, **title, "oneOf": kinds, "$defs": defs.found}


def plan_schema() -> dict[str, Any]:
    defs = Defs()
    target, account = defs.fields(Target), defs.fields(Account)
    shown = {name: it for name, it in target.items() if name != "timeouts"}
    shown |= {"matrix": {"type": "object", "additionalProperties": TEXT}, "request": {"type": "object"}}
    shown |= {"reruns": {**COUNT, "description": "How often a build that failed is started again."}}
    seconds = {name: {"type": ["number", "null"]} for name in ("opens_after_seconds", "expected_seconds")}
    wave = {"wave": COUNT, "name": TEXT, "targets": COUNT, "opens": TEXT, **seconds}
    wave |= {"blocks": {"type": "array", "items": defs.of(Block)}, "drawn": {"type": "array", "items": TEXT}}
    own = {name: account[name] for name in ("type", "url", "token", "connections", "in_flight")}
    own |= {"limits": {"type": "array", "items": TEXT}, "triggers": COUNT, "looks": COUNT, "seconds": NUMBER}
    own |= {"binding": {"type": ["string", "null"]}, "quiet_until": TIME, "share": NUMBER}
    cast = dict.fromkeys(("seconds", "last_trigger_seconds", "last_build_seconds", "levels"), NUMBER)
    cast |= {"text": TEXT, "supposed": {"type": "array", "items": TEXT}, "advice": {"type": "array"}}
    top = {
        "schema": {"const": PLAN},
        "name": TEXT,
        "manifest": {"type": ["string", "null"]},
        "digest": TEXT,
        "params": {"type": "object"},
        "targets": {"type": "array", "items": an_object(shown)},
        "waves": {"type": "array", "items": an_object(wave)},
        "accounts": {"type": "object", "additionalProperties": an_object(own)},
        "forecast": an_object(cast),
        "warnings": {"type": "array", "items": TEXT},
    }
    said = {"title": PLAN, "description": "What `plan -o json` writes. Fields are only ever added."}
    return {**DRAFT, **said, **an_object(top), "$defs": defs.found}


def an_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


SCHEMAS = {"report": report_schema, "plan": plan_schema, "events": events_schema}


def written(name: str) -> str:
    return json.dumps(SCHEMAS[name](), indent=1, ensure_ascii=False, sort_keys=name == "events") + "\n"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_what_the_code_says(name):
    kept = (PLACE / f"{name}.json").read_text(encoding="utf-8")
    assert kept == written(name), "python tests/test_schemas.py writes it"
    jsonschema.Draft202012Validator.check_schema(json.loads(kept))


@pytest.mark.parametrize("case", CASES)
def test_every_fact_of_a_journal_fits_the_schema_of_events(case):
    story = read(case)
    report = replace(view(story.run_id, story.history, story.now), facts=[("r", one) for one in story.entries])
    check = jsonschema.Draft202012Validator(json.loads((PLACE / "events.json").read_text(encoding="utf-8")))
    for line in render(report, "events").splitlines():
        assert [error.message for error in check.iter_errors(json.loads(line))] == []


def test_a_fact_of_no_kind_fits_nothing():
    check = jsonschema.Draft202012Validator(json.loads((PLACE / "events.json").read_text(encoding="utf-8")))
    line = {"run": "r", "stream": "", "seq": 1, "at": None, "event": "teleported"}
    assert not check.is_valid(line)


def test_a_plan_fits_its_schema(tmp_path, capsys):
    program = Program(tmp_path, capsys, T="x")
    waves = "rollout: {waves: [1, 100%]}\n"
    accounts = "providers: {travis: {type: travis, token: env:T}}\ndefaults: {branches: [main]}\n"
    program.write("orchestrator.yaml", f"version: 1\nname: n\n{accounts}{waves}targets: [acme/a, acme/b]\n")
    assert program("plan", "--offline", "-o", "json") == 0
    schema = json.loads((PLACE / "plan.json").read_text(encoding="utf-8"))
    jsonschema.validate(program.json, schema)
    assert program.json.keys() == schema["properties"].keys()


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    for name in SCHEMAS:
        (PLACE / f"{name}.json").write_text(written(name), encoding="utf-8")
