"""Big manifests, and small ones that would like to be big."""

import subprocess
import sys
import tracemalloc

import pytest
from manifest_helpers import KNOWN, TODAY, files, manifest_of, plan_of

from orchestrator.manifest import ManifestError, expand, read
from orchestrator.manifest.targets import MOST_TARGETS


def many(count):
    return ["version: 1", "targets:", *(f"  - acme{n % 50}/repo-{n}@main" for n in range(count))]


@pytest.mark.slow
def test_one_wrong_key_in_line_73112_of_many_is_named_with_line_and_column():
    lines = many(100_000)
    lines[73_111] = "  - {repo: acme/odd, brnch: main}"
    with pytest.raises(ManifestError) as caught:
        plan_of("\n".join(lines))
    assert str(caught.value) == "m.yaml:73112:22: targets[73109].brnch: unknown key `brnch`; did you mean `branch`?"


def test_a_hundred_thousand_targets_share_what_they_can():
    plan = plan_of("\n".join([*many(20_000), "defaults: {message: hi, labels: [a], env: {A: b}}"]))
    assert len(plan.targets) == 20_000
    for part in ("request", "labels", "timeouts", "matrix", "needs", "account"):
        assert len({id(getattr(target, part)) for target in plan.targets}) == 1


@pytest.mark.slow
def test_reading_keeps_little_of_each_target():
    text = "\n".join(many(20_000)).encode()
    tracemalloc.start()
    try:
        plan = expand(read("m.yaml", text, declarations=KNOWN, load=files()), today=TODAY)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / len(plan.targets) < 700
    assert peak / len(plan.targets) < 1200


def flow(prefix, count):
    return "[" + ", ".join(f"{prefix}{n}" for n in range(count)) + "]"


@pytest.mark.parametrize(
    "entry",
    [
        f"{{repo: acme/a, matrix: {{a: &v {flow('x', 100)}, b: *v, c: *v, d: &w [x, y]}}}}",
        f"{{repos: {flow('acme/r', 1000)}, branches: {flow('b', 2000)}}}",
    ],
    ids=["matrix", "repos-and-branches"],
)
def test_a_small_text_that_means_too_many_targets_is_refused(entry):
    with pytest.raises(ManifestError, match=f"it makes 2000000 targets, more than {MOST_TARGETS}"):
        plan_of(f"version: 1\ntargets: [{entry}]")


def test_needs_of_everything_on_everything_are_refused():
    base = ", ".join(f"acme/b{n}" for n in range(2500))
    rest = ", ".join(f"acme/r{n}" for n in range(2500))
    text = f'version: 1\ntargets: [{{repos: [{base}], labels: base}}, {{repos: [{rest}], needs: "label:base"}}]'
    with pytest.raises(ManifestError, match="needs; let a few targets need a few others"):
        plan_of(text)


def test_aliases_that_share_without_multiplying_are_fine():
    lines = ["version: 1", "x-a: &a {labels: [x], env: {A: b}}", "targets:"]
    lines += [f"  - {{<<: *a, repo: acme/r{n}}}" for n in range(2000)]
    assert len(plan_of("\n".join(lines)).targets) == 2000


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed():
    with pytest.raises(ManifestError, match="the file is larger than 64 MiB"):
        manifest_of(b"#" * (64 * 1024 * 1024 + 1))


def test_reading_manifests_imports_nothing_that_is_slow():
    code = "import sys, orchestrator.manifest; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "yaml" in loaded
    assert {"pydantic", "aiohttp", "anyio", "structlog", "rich", "jinja2", "asyncio", "click"}.isdisjoint(loaded)
