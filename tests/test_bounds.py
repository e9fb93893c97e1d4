"""Every size that a manifest or a flag can multiply has a bound, and a word for whoever meets it."""

import os

import pytest
from cli_machine import Program

from orchestrator.core.errors import Exit, UsageError
from orchestrator.lookalike.travis import settings
from orchestrator.manifest import ManifestError, files
from orchestrator.manifest import targets as made
from tests.manifest_helpers import plan_of


def refused(text, **more):
    with pytest.raises(ManifestError) as caught:
        plan_of(text, **more)
    return str(caught.value)


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


MANY = "[" + ", ".join(f"acme/r{number}" for number in range(4000)) + "]"


def test_what_a_trigger_would_send_is_bounded():
    text = f"version: 1\nparams: {{big: x}}\ndefaults: {{message: '${{{{ params.big }}}}'}}\ntargets: {MANY}"
    said = refused(text, params={"big": "x" * 2**20})
    assert said.startswith("m.yaml:3:")
    assert "a trigger would send 1,048,583 characters, more than 262,144; write less" in said
    assert said.count("\n") == 0


def test_what_all_triggers_would_send_is_bounded(monkeypatch):
    monkeypatch.setattr(made, "MOST_MADE", 100_000)
    each = "${{ target.repo }} " + "x" * 1000
    said = refused(f"version: 1\ndefaults: {{message: '{each}'}}\ntargets: {MANY}")
    assert "more than 100,000 characters to be sent; split the manifest" in said


def test_a_text_with_its_names_filled_in_is_bounded():
    bomb = "${{ params.a }}" * 1000
    text = f"version: 1\nparams: {{a: x}}\ntargets: [{{repo: acme/a, message: '{bomb}'}}]"
    assert "longer than 1,048,576 characters with its names filled in" in refused(text, params={"a": "x" * 10_000})
    late = "${{ matrix.a }}" * 1000
    text = f"version: 1\ntargets: [{{repo: acme/a, matrix: {{a: ['{'x' * 1500}']}}, message: '{late}'}}]"
    assert "longer than 1,048,576 characters" in refused(text)
    assert "the value has 1,048,577 characters" in refused(
        "version: 1\nparams: {a: x}\ntargets: [acme/a]", params={"a": "x" * (2**20 + 1)}
    )


def test_names_and_texts_of_a_manifest_are_bounded():
    assert "an id of 3,014 characters" in refused(f"version: 1\ntargets: [acme/a@{'b' * 3000}]")
    assert "a label of 2,000 characters" in refused(f"version: 1\ntargets: [{{repo: acme/a, labels: {'l' * 2000}}}]")
    assert "longer than 1048576 characters" in refused(f"version: 1\ntargets: [{{repo: acme/a, skip: {'l' * 2**21}}}]")


def test_combinations_to_leave_out_are_bounded():
    values = ", ".join(f"n{number}: ['1', '2']" for number in range(16))
    out = ", ".join(["{n0: '1'}"] * 400)
    said = refused(f"version: 1\ntargets: [{{repo: acme/a, matrix: {{{values}, exclude: [{out}]}}}}]")
    assert "more than 20,000,000 combinations to compare with `exclude`; exclude fewer" in said


def test_all_files_of_a_manifest_together_are_bounded(monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 10_000)
    entries = ", ".join(f"{{from: l{number}.txt}}" for number in range(20))
    said = refused(f"version: 1\ntargets: [{entries}]", load=lambda path: b"#" * 999)
    assert "cannot read l10.txt: the files are larger than 0 MiB together" in said


@pytest.mark.parametrize("place", ["/dev/zero", "pipe", "."])
@pytest.mark.parametrize("words", ["check {}", "run --from {}", "sandbox {}", "check m.yaml"])
def test_what_is_no_file_is_refused_at_once_wherever_a_file_is_named(program, place, words):
    os.mkfifo(program.folder / "pipe")
    program.write("m.yaml", f"version: 1\ntargets: [{{from: {place}}}]\n")
    assert program(*words.format(place).split()) == Exit.USAGE
    assert any(word in program.err for word in ("it is a device", "it is a named pipe", "Is a directory"))


def test_what_a_shell_pipes_in_under_a_name_is_read(program):
    read, write = os.pipe()
    os.write(write, b"version: 1\ntargets: [acme/a]\n")
    os.close(write)
    assert program("check", f"/dev/fd/{read}") == Exit.OK
    os.close(read)


def test_a_sandbox_has_a_number_of_repositories_that_fits(program):
    for words in ("--set repos=99999999999", "--repos 99999999999"):
        assert program("sandbox", *words.split()) == Exit.USAGE
        assert "expected at most 100,000, found 99,999,999,999" in program.err
    with pytest.raises(UsageError):
        settings.parse({"repos": 10**12})
