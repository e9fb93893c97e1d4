"""Answers and manifests that nobody would send: always a typed outcome, bounded in calls and time.

hypothesis starts from true answers and spoils them; atheris, where it is installed, goes for half a minute each from
the same seeds, guided by what code they reach.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_machine import ENVIRON
from fuzz.targets import BETWEEN, MARKER, STATUSES, TARGETS, answers, manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = 25  # of each target

ROW = {
    "@type": "request",
    "id": 1,
    "state": "finished",
    "result": "approved",
    "message": None,
    "event_type": "api",
    "created_at": "2026-01-05T01:00:05Z",
    "repository": {"@type": "repository", "id": 4711, "slug": "acme/a"},
    "branch_name": "main",
    "commit": {"@type": "commit", "sha": "0f3c", "message": f"hello {MARKER}"},
    "builds": [{"@type": "build", "id": 555001, "number": "412", "state": "started", "event_type": "api"}],
}
PAGINATION = {"limit": 100, "offset": 0, "count": 1, "is_last": False, "next": {"offset": 100, "limit": 100}}
TRUE = [
    {"@type": "pending", "remaining_requests": 9, "request": {"id": 1}, "repository": ROW["repository"]},
    {"@type": "requests", "requests": [ROW], "@pagination": PAGINATION},
    {"@type": "builds", "builds": [{**ROW["builds"][0], "repository": ROW["repository"]}], "@pagination": PAGINATION},
    ROW,
    {"@type": "error", "error_type": "request_limit_reached", "error_message": "no more", "max_requests": 10},
    {"@type": "user", "id": 77, "login": "sandbox", "name": None},
    {"@type": "repository", "id": 4711, "slug": "acme/a", "active": True, "@permissions": {"create_request": True}},
    {"@type": "repositories", "repositories": [ROW["repository"]], "@pagination": PAGINATION},
    {"@type": "branches", "branches": [{"name": "main", "exists_on_github": True}], "@pagination": PAGINATION},
    {"@type": "jobs", "jobs": [{"id": 5, "number": "412.1"}]},
]
KEYS = sorted({key for body in TRUE for key in body} | set(ROW) | set(PAGINATION))

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "approved", "started", "passed", "2026-01-05T01:00:05Z", "99999-01-01T00:00:00Z", MARKER]),
    st.just([]),
    st.just({}),
)
anything = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner), max_leaves=10
)


def paths(value, here=()):
    yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from paths(one, (*here, key))


def put(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(copy[path[0]], path[1:], new)
    return copy


@st.composite
def spoilt(draw):
    """A true body in which some values are something else."""
    body = draw(st.sampled_from(TRUE))
    for _ in range(draw(st.integers(0, 3))):
        body = put(body, draw(st.sampled_from(list(paths(body)))), draw(anything))
    return body


statuses = st.integers(0, len(STATUSES) - 1)
one_answer = st.builds(lambda status, body: bytes([status]) + json.dumps(body).encode(), statuses, spoilt())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(one_answer, min_size=1, max_size=4))
def test_spoilt_answers_become_what_a_method_may_say(parts):
    answers(BETWEEN.join(parts))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_answer_become_what_a_method_may_say(data):
    answers(data)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 90_000,
        b'{"a":' * 15_000 + b"1" + b"}" * 15_000,
        b'{"request":{"id":' + b"9" * 50_000 + b"}}",
        b'{"@type":"requests","requests":[],"@pagination":{"limit":1e999,"next":{"offset":-1}}}',
        b'{"@type":"requests","requests":[{"id":1e999}],"@pagination":{"limit":1}}',
        b'{"@type":"user","id":NaN}',
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
    ],
    ids=["deep list", "deep map", "huge id", "no number for a page", "an endless id", "NaN", "a mark", "half a pair"],
)
@pytest.mark.parametrize("status", [0, 3, 9, 14, 15])
def test_famous_tricks_become_what_a_method_may_say(body, status):
    answers(bytes([status]) + body)


def seeds(target, folder):
    """Files from which the search begins."""
    folder.mkdir()
    if target == "answers":
        for number, body in enumerate(TRUE):
            (folder / f"{number}").write_bytes(b"\0" + json.dumps(body).encode())
            (folder / f"{number}-twice").write_bytes(b"\3{}" + BETWEEN + b"\0" + json.dumps(body).encode())
    else:
        for file in sorted((Path(__file__).parents[1] / "manifests").glob("*.yaml")):
            (folder / file.name).write_bytes(file.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_guided_search_finds_nothing(target, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for every Python and system; `pip install atheris` where it has")
    seeds(target, tmp_path / "corpus")
    root = Path(__file__).parents[1]
    flags = [f"-max_total_time={SECONDS}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=20000", "-verbosity=0"]
    words = [sys.executable, "-m", "tests.fuzz", target, *flags, f"-artifact_prefix={tmp_path}/", tmp_path / "corpus"]
    done = subprocess.run(words, cwd=root, env=ENVIRON, capture_output=True, text=True, timeout=SECONDS * 4)
    assert done.returncode == 0, f"{done.stderr[-4000:]}\n{[file.name for file in tmp_path.iterdir()]}"


def test_every_seed_of_the_search_keeps_its_promise(tmp_path):
    for name, target in (("answers", answers), ("manifest", manifest)):
        seeds(name, tmp_path / name)
        files = list((tmp_path / name).iterdir())
        assert files
        for file in files:
            target(file.read_bytes())
