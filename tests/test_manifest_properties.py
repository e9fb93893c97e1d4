"""Whatever the bytes are, there is a manifest or there are located errors; never a traceback, never for long."""

import re
import string

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest_helpers import KNOWN, TODAY, no_files

from orchestrator.core.globs import matches
from orchestrator.core.template import compile_text, fill
from orchestrator.core.times import parse_duration, parse_limit
from orchestrator.manifest import Answers, ManifestError, expand, questions, read
from orchestrator.manifest.diagnostics import Diagnostics
from orchestrator.manifest.identity import Parts, id_of, parse
from orchestrator.manifest.yaml_reader import DEEPEST, read_yaml

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORDS = [
    "version", "1", "targets", "repo", "acme/a", "defaults", "branches", "main", "env", "~", "on", "1.10", "2024-01-01",
    "matrix", "needs", "label:x", "${{ params.x }}", "${{", "params", "providers", "travis", "token", "env:X", "skip",
    "from", "discover", "owner", "config", "&a", "*a", "<<", "!!str", "[", "]", "{", "}", ":", ",", "- ", "\n",
    "  ", "\t", "'", '"', "#", "|", "---", "?", "%", "@", "acme/b@main[x=y]#n", "\0", "é", "timeouts", "5s", "limits",
]  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.sampled_from(WORDS), st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    "name", "params", "providers", "defaults", "targets", "rollout", "expect", "fail_on", "reports", "include", "x-a",
]  # fmt: skip
TARGET_KEYS = [
    "repo", "repos", "matrix", "needs", "skip", "labels", "branches", "config", "env", "discover", "from", "name",
]  # fmt: skip
tops = st.dictionaries(st.sampled_from(KEYS), values, max_size=5).map(lambda said: {"version": 1, **said})


def outcome(data):
    try:
        manifest = read("m.yaml", data, declarations=KNOWN, load=no_files, strict_params=False)
        questions(manifest)
        return expand(manifest, Answers(), today=TODAY)
    except ManifestError as error:
        return error


def check(data):
    found = outcome(data)
    if isinstance(found, ManifestError):
        assert found.problems
        for line in str(found).split("\n"):
            assert re.match(r"m\.yaml:", line) or "more problems" in line, line


@quick
@given(st.binary(max_size=400))
def test_any_bytes_give_a_manifest_or_located_errors(data):
    check(data)


@quick
@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
def test_any_words_of_yaml_give_a_manifest_or_located_errors(text):
    check(text.encode())


@quick
@given(tops)
def test_any_values_under_known_keys_give_a_manifest_or_located_errors(said):
    check(yaml.safe_dump(said, allow_unicode=True).encode("utf-8", "replace"))


@quick
@given(st.lists(st.dictionaries(st.sampled_from(TARGET_KEYS), values, max_size=5), max_size=3))
def test_any_values_in_targets_give_a_manifest_or_located_errors(targets):
    said = {"version": 1, "targets": [{"repo": "acme/a", **target} for target in targets]}
    check(yaml.safe_dump(said, allow_unicode=True).encode("utf-8", "replace"))


@quick
@given(values)
def test_plain_values_are_those_of_the_safe_loader(said):
    data = yaml.safe_dump(said, allow_unicode=True).encode("utf-8", "replace")
    diagnostics = Diagnostics()
    try:
        read_ = read_yaml("m.yaml", data, diagnostics)
    except ManifestError:
        return  # control characters and keys that are no text are refused
    if not diagnostics.problems:
        assert repr(read_) == repr(yaml.safe_load(data))


@quick
@given(
    st.text(string.ascii_letters + "-_.", min_size=1, max_size=9),
    st.none() | st.text(min_size=1, max_size=12),
    st.dictionaries(st.from_regex(r"\A[A-Za-z_]\w{0,5}\Z", fullmatch=True), st.text(max_size=6), max_size=3),
    st.none() | st.text(min_size=1, max_size=9),
)
def test_an_id_says_what_it_was_made_of(name, ref, matrix, title):
    pairs = tuple(matrix.items())
    assert parse(id_of("travis", f"acme/{name}", ref, pairs, title)) == Parts(
        "travis", f"acme/{name}", ref, pairs, title
    )


@quick
@given(st.text(max_size=30))
def test_any_short_form_is_read_or_refused_with_a_reason(text):
    try:
        parts = parse(text)
    except ValueError:
        return
    assert parts.repo


def slow_match(glob, text):
    """What the globs mean, as simply as it can be said."""
    if not glob:
        return not text
    if glob.startswith("**"):
        rest = glob.lstrip("*")
        return any(slow_match(rest, text[at:]) for at in range(len(text) + 1))
    if glob[0] == "*":
        ends = range(len(text.partition("/")[0]) + 1)
        return any(slow_match(glob[1:], text[at:]) for at in ends)
    if not text or (glob[0] == "?" and text[0] == "/") or (glob[0] != "?" and glob[0] != text[0]):
        return False
    return slow_match(glob[1:], text[1:])


@settings(max_examples=300, deadline=None)
@given(st.text("ab/*?", max_size=9), st.text("ab/", max_size=9))
def test_a_glob_matches_what_its_definition_says(glob, text):
    assert matches(glob, text) == slow_match(glob, text)


@pytest.mark.parametrize("glob", ["*a" * 30 + "b", "**a" * 30 + "b", "*a**" * 20 + "b", "a*" * 40 + "b"])
def test_no_glob_takes_for_ever(glob):
    assert not matches(glob, "a" * 300 + "c")


@quick
@given(st.lists(st.sampled_from(["${{ a }}", "$${{", "${{", "}}", "x", "$", "{ ", " "]), max_size=8).map("".join))
def test_a_template_is_one_pass(text):
    try:
        compiled = compile_text(text, {}, lambda name: True)
        filled = fill(compiled, {"a": "${{ a }}"})
    except ValueError:
        return  # `${{` that names nothing
    assert filled == re.sub(r"\$\$\{\{|\$\{\{ a \}\}", lambda found: found[0].replace("$$", "$"), text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("60s", 60), ("1.5m", 90), ("24h", 86400), ("2d", 172800), ("0s", 0), ("1h30m", 5400)],
)
def test_durations_are_read_in_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "60", "s", "1 h", "-1s", "1w", "1h 30m", "h", "99999d", "60s\n", "٣s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"expected a duration|no duration|longer than ten years"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "limit"), [("40/30s", (40, 30)), ("10/h", (10, 3600)), ("1/250ms", (1, 0.25))])
def test_limits_are_calls_per_seconds(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "40", "0/30s", "40/0s", "40/", "x/30s", "40/30", "-1/1s"])
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(ValueError, match="expected so many calls per period"):
        parse_limit(text)


def test_the_deepest_nesting_that_is_allowed_is_read():
    deep = "[" * (DEEPEST - 2) + "]" * (DEEPEST - 2)
    assert outcome(f"version: 1\nx-deep: {deep}\ntargets: [acme/a]".encode()).targets
    with pytest.raises(ManifestError, match="nested deeper"):
        read_yaml("m.yaml", b"[" * (DEEPEST + 1), Diagnostics())
