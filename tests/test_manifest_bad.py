"""Bad manifests stand beside the messages that they get, whole: read them as the person would who wrote one."""

import os
from pathlib import Path

import pytest
from manifest_helpers import KNOWN, TODAY, from_folder

from orchestrator.manifest import Answers, ManifestError, expand, read

FOLDER = Path(__file__).parent / "manifests"
BAD = sorted(FOLDER.glob("bad-*.yaml"))


def told(path):
    try:
        manifest = read(path.name, path.read_bytes(), declarations=KNOWN, load=from_folder(FOLDER), run_id="r")
        expand(manifest, Answers(), today=TODAY)
    except ManifestError as error:
        return f"{error}\n"
    return "nothing is wrong with it\n"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_manifest_gets_the_message_that_stands_beside_it(path):
    message = path.with_suffix(".txt")
    said = told(path)
    assert "nothing is wrong" not in said
    if "REWRITE_MESSAGES" in os.environ:  # then read the difference, as a person would
        message.write_text(said)
    assert said == message.read_text()


def test_every_message_belongs_to_a_manifest():
    assert {path.stem for path in FOLDER.glob("bad-*.txt")} == {path.stem for path in BAD}
    assert len(BAD) > 40


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_no_message_repeats_a_secret(path):
    said = told(path)
    assert "hunter2" not in said
    assert "12345678)" not in said


def test_a_parser_that_gives_up_on_nesting_before_we_do_is_explained():
    with pytest.raises(ManifestError) as caught:
        read("deep.yaml", b"targets: " + b"[" * 50_000, declarations=KNOWN, load=from_folder(FOLDER))
    assert "flatten it" in str(caught.value)
