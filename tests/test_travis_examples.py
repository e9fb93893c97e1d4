"""The two `curl` examples of Travis' own page, as manifests: what is sent equals, as JSON values, what they send."""

from datetime import date
from pathlib import Path

import pytest

from orchestrator import manifest
from orchestrator.core.model import Trigger, marker_of
from orchestrator.providers import registry
from orchestrator.providers.travis.wire import trigger_call

FOLDER = Path(__file__).parent.parent / "manifests"
DOCUMENTS = {
    "travis-minimal.yaml": {"request": {"branch": "master"}},
    "travis-override.yaml": {
        "request": {
            "message": "Override the commit message: this is an api request",
            "branch": "master",
            "config": {"env": {"matrix": ["TEST=unit"]}, "script": "echo FOO"},
        }
    },
}


def no_file(path):
    raise AssertionError(f"read {path}")


def no_secret(reference):
    raise AssertionError(f"resolved {reference}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_sent_is_what_travis_own_example_sends(name):
    text = (FOLDER / name).read_bytes()
    read = manifest.read(
        name, text, declarations=registry.known(), params={}, run_id="run", load=no_file, strict_params=True
    )
    [target] = manifest.expand(read, today=date(2026, 1, 5)).targets
    assert not target.marked
    call = trigger_call(Trigger(target, 1, None, read.name), no_secret)
    assert (call.method, call.path) == ("POST", "/repo/travis-ci%2Ftravis-core/requests")
    assert call.body == DOCUMENTS[name]
    assert not call.secret


def test_with_a_marker_only_the_message_differs():
    text = (FOLDER / "travis-override.yaml").read_bytes()
    read = manifest.read(
        "x", text, declarations=registry.known(), params={}, run_id="run", load=no_file, strict_params=True
    )
    [target] = manifest.expand(read, today=date(2026, 1, 5)).targets
    marker = marker_of(read.name, "run", target.id)
    sent = trigger_call(Trigger(target, 1, marker, read.name), no_secret).body["request"]
    plain = DOCUMENTS["travis-override.yaml"]["request"]
    assert sent == {**plain, "message": f"{plain['message']} {marker}"}
