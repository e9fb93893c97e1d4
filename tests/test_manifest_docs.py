"""The reference, the schema and the examples say what the code does."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from manifest_helpers import KNOWN, TODAY, plan_of

from orchestrator.manifest import Answers, expand, json_schema, read, starter
from orchestrator.providers.port import RepoFacts
from orchestrator.providers.registry import known

ROOT = Path(__file__).parent.parent
REFERENCE = (ROOT / "docs" / "manifest.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)
CSV = re.search(r"```csv\n(.*?)```", REFERENCE, re.DOTALL)[1]
EXAMPLES = sorted((ROOT / "manifests").glob("*.yaml"))
SCHEMA = json_schema(known())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def whole(block):
    head = "" if "version:" in block else "version: 1\n"
    return head + block + ("" if "targets:" in block else "targets: [acme/a]\n")


def keys_of(node, are_keys=False):  # a key may itself be named `properties`
    if isinstance(node, dict):
        yield from () if are_keys else node.get("properties", ())
        for name, inner in node.items():
            yield from keys_of(inner, name == "properties" and not are_keys)
    elif isinstance(node, list):
        for inner in node:
            yield from keys_of(inner)


def load(path):
    return {"repos.csv": CSV.encode()}.get(path, b"{}")


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_of_the_reference_is_a_manifest(block):
    manifest = read("docs.yaml", whole(block).encode(), declarations=known(), load=load)
    assert expand(manifest, Answers(), today=TODAY).targets or "discover" in block


def test_every_key_of_the_schema_is_in_the_reference():
    keys = set(keys_of(SCHEMA))
    assert {"brnch", "nothing"}.isdisjoint(keys)
    assert len(keys) > 50
    assert {key for key in keys if not re.search(rf"`{re.escape(key)}\b", REFERENCE)} == set()


def test_every_key_that_the_reference_shows_as_a_heading_is_in_the_schema():
    headings = re.findall(r"^### (.*)$", REFERENCE, re.MULTILINE)
    shown = {key for heading in headings for key in re.findall(r"`([a-z_]+)`", heading)}
    assert len(shown) > 15
    assert shown <= set(keys_of(SCHEMA))


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    json.dumps(SCHEMA)


@pytest.mark.parametrize(
    "text", [whole(block) for block in BLOCKS] + [path.read_text() for path in EXAMPLES] + [starter()]
)
def test_the_schema_accepts_what_the_reader_accepts(text):
    VALIDATOR.validate(as_we_read(yaml.safe_load(text)))


def as_we_read(value):
    """With `on` as the text that it is to us, and to readers of YAML 1.2; PyYAML makes true of it."""
    if isinstance(value, list):
        return [as_we_read(each) for each in value]
    return (
        {"on" if key is True else key: as_we_read(each) for key, each in value.items()}
        if isinstance(value, dict)
        else value
    )


@pytest.mark.parametrize("name", ["unknown-keys", "scalars", "values", "version", "no-version", "many"])
def test_the_schema_refuses_what_the_reader_refuses_for_its_keys_and_types(name):
    path = ROOT / "tests" / "manifests" / f"bad-{name}.yaml"
    assert not VALIDATOR.is_valid(yaml.safe_load(path.read_text()))


def test_keys_of_a_provider_come_from_its_declaration():
    schema = json_schema(KNOWN)
    assert "ref" in schema["$defs"]["Target"]["properties"]
    assert "Small CI" in schema["$defs"]["Target"]["properties"]["ref"]["description"]
    assert "per_owner" in schema["$defs"]["Limits"]["properties"]
    assert "group" in schema["$defs"]["Account"]["properties"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_manifest_is_one_and_says_what_it_is_for(path):
    text = path.read_text()
    assert text.startswith("# ")
    manifest = read(str(path), text.encode(), declarations=known(), load=lambda name: Path(name).read_bytes())
    assert expand(manifest, Answers(), today=TODAY).targets


def test_the_demo_builds_some_hundred_and_fifty_targets_of_some_hundred_repositories():
    path = ROOT / "manifests" / "demo.yaml"
    plan = plan_of(path.read_text())
    triggered = [target for target in plan.targets if target.skip is None]
    assert 140 <= len(triggered) <= 160
    assert 95 <= len({target.repo for target in triggered}) <= 110
    assert len({target.branch for target in triggered}) >= 3
    assert any(target.needs for target in triggered)
    assert any(target.matrix for target in triggered)
    assert any(target.labels for target in triggered)
    assert len(triggered) < len(plan.targets)


def test_the_starter_says_how_editors_complete_it():
    assert starter().splitlines()[0] == "# yaml-language-server: $schema=orchestrator.schema.json"


def test_a_csv_of_three_thousand_repositories_is_a_plan():
    rows = "".join(f"acme{n % 7}/r{n},main;dev,team-{n % 5};all\n" for n in range(3000))
    text = "version: 1\ntargets: [{from: repos.csv}]"
    plan = plan_of(text, load=lambda path: f"repo,branches,labels\n{rows}".encode())
    assert len(plan.targets) == 6000
    assert plan.targets[-1].labels == ("team-4", "all")
    assert plan.targets[-1].where == "repos.csv:3001:1"


def test_a_discovery_of_three_thousand_repositories_is_a_plan():
    found = [RepoFacts(str(n), f"acme/svc-{n}", active=True) for n in range(3000)]
    text = 'version: 1\ntargets: [{discover: {owner: acme, match: "svc-*", exclude: "svc-1*"}}]'
    plan = plan_of(text, Answers(owners={("travis", "acme"): found}, offline=False))
    assert len(plan.targets) == 1889
