"""What the shell offers while somebody types, asked for as bash, zsh and fish do."""

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time

import click
import pytest
from cli_machine import ENVIRON, Program
from test_cli_state import F, P, tell

from orchestrator.cli.completion import ENDS_A_WORD, SCRIPTS, answers, script
from orchestrator.cli.help import Completes
from orchestrator.cli.main import VERBS, Machine, root
from orchestrator.core.secrets import Redactor
from orchestrator.report import FORMATS

MANIFEST = """\
version: 1
name: nightly
params: {image: x}
providers: {travis: {token: env:NO_SUCH_TOKEN}, lab: {type: gitlab, token: "command:touch called"}}
targets:
  - {repo: acme/widget, account: travis, branches: [main, dev], labels: [core, linux]}
  - {repo: acme/gadget, account: travis, matrix: {python: ["3.11", "3.12"]}}
  - {repo: other/group/x, account: lab}
"""


@pytest.fixture
def program(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path / "s"))
    program = Program(tmp_path, capsys)
    program.write("orchestrator.yaml", MANIFEST)
    tell(program, "monday-1", P, F, P)
    tell(program, "tuesday-1", P, None, P, ends=False)
    return program


def offered(program, line, shell="fish", breaks=""):
    """The words, without what is said of them; a file is `FILES`."""
    machine = Machine(program.environ, program.folder, program.folder, program.now, Redactor())
    rows = [one.split("\t") for one in answers(machine, f"orchestrator {line}", shell, breaks)]
    return ["FILES" if kind == "file" else word for kind, word, *_ in rows]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("st", ["status"]),
        ("help exit", ["exit-codes"]),
        ("status ", ["latest", "@nightly", "tuesday-1", "monday-1"]),
        ("status @", ["@nightly"]),
        ("status mon", ["monday-1"]),
        ("resume ", ["latest", "@nightly", "tuesday-1"]),
        ("status acme/", ["acme/a@main", "acme/b@main", "acme/c@main"]),
        ("status travis:acme/b", ["travis:acme/b@main"]),
        ("why ", ["acme/a@main", "acme/b@main", "acme/c@main"]),
        ("why monday-1 acme/b", ["acme/b@main"]),
        ("diff monday-1 tue", ["tuesday-1"]),
        ("run --like mon", ["monday-1"]),
        ("report -o ht", ["html"]),
        ("report -o html=orch", ["html=orchestrator.yaml"]),
        ("why -o ", ["text", "json"]),
        ("plan -o c", ["curl"]),
        ("report -o ", list(FORMATS)),
        ("run --fail-on failed,err", ["failed,errored"]),
        ("retry --outcome time", ["timed_out"]),
        ("run --rate ", ["travis=", "lab="]),
        ("run -p ", ["image="]),
        ("run --label core,", ["core,linux"]),
        ("run --only acme/w", ["acme/widget@main", "acme/widget@dev"]),
        ("run --only travis:acme/g", ["travis:acme/gadget[python=3.11]", "travis:acme/gadget[python=3.12]"]),
        ("run --only=oth", ["--only=other/group/x"]),
        ("resume --adopt-request acme/c", ["acme/c@main="]),
        ("run --overlap f", ["forbid"]),
        ("run ", ["FILES"]),
        ("init --type gith", ["github"]),
        ("flaky ", ["nightly"]),
        ("completion z", ["zsh"]),
        ("run --max", ["--max-fail"]),
        ("run --nosuch x --only acme/w", ["acme/widget@main", "acme/widget@dev"]),
    ],
)
def test_these_words_may_stand_there(line, words, program):
    assert offered(program, line) == words


def test_nothing_is_asked_run_or_resolved(program):
    offered(program, "run --only ")
    assert sorted(one.name for one in program.folder.iterdir()) == ["orchestrator.yaml", "s"]


@pytest.mark.parametrize("text", ["version: 1\ntargets: [", "targets: " + "x" * (1 << 20), ""])
def test_a_manifest_that_is_wrong_or_large_offers_nothing_and_says_nothing(text, program):
    program.write("orchestrator.yaml", text)
    assert offered(program, "run --only ") == []


def test_no_state_offers_no_runs(program):
    shutil.rmtree(program.folder / "s")
    assert offered(program, "status ") == []
    assert offered(program, "why x") == []


def test_of_many_targets_their_owners_come_first(program):
    program.write("orchestrator.yaml", "version: 1\ntargets:\n" + "".join(f"  - a{n % 3}/r{n}\n" for n in range(300)))
    assert offered(program, "run --only ") == ["a0/", "a1/", "a2/"]
    assert len(offered(program, "run --only a1/")) == 100


def test_a_name_that_steers_a_terminal_is_made_harmless(program):
    program.write("orchestrator.yaml", 'version: 1\nname: x\ntargets: [{repo: acme/a, branch: "b\\e[31m"}]\n')
    assert all("\x1b" not in word for word in offered(program, "run --only acme/"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("why travis:acme/b", ["acme/b@main"]),  # bash keeps what stands before the colon
        ("why 'travis:acme/b", ["travis:acme/b@main"]),  # but not where a quote is open
        ("run --only travis:acme/gadget[python=3.12", [r"3.12\]"]),
        ("run --only travis:acme/g", [r"acme/gadget\[python=3.11\]", r"acme/gadget\[python=3.12\]"]),
    ],
)
def test_bash_gets_what_its_readline_can_put_in(line, words, program):
    assert offered(program, line, "bash", ENDS_A_WORD) == words


def test_every_run_manifest_and_format_completes():
    """No verb is forgotten: what takes a run, a file, outcomes or a format says by what it completes."""
    wanted = {"RUN", "MANIFEST", "TARGET", "FORMAT[=FILE]", "LIST", "A", "B"}
    for verb in VERBS:
        command = root.get_command(click.Context(root), verb)
        for one in command.params:
            shown = one.metavar or (one.name or "").upper()
            if shown in wanted:
                assert isinstance(one, Completes)
                assert one.completes, (verb, one.name)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_verb_prints_what_the_shell_is_to_run(shell, program):
    assert program("completion", shell) == 0
    assert program.out == script(shell)


# -- the shells themselves --------------------------------------------------------------------------------------

ENDS = [("stat", b"status"), ("why travis:acme/b", b"@main"), ("status mon", b"day-1")]


@pytest.fixture
def environ(program):
    """As a person has it: our command by its name, the state, a terminal that can do little."""
    command = program.folder / "bin" / "orchestrator"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m orchestrator "$@"\n')
    command.chmod(0o755)
    state = {"ORCHESTRATOR_STATE": str(program.folder / "s"), "TERM": "xterm", "HOME": str(program.folder)}
    return {**ENVIRON, **state, "PATH": f"{command.parent}:{os.environ['PATH']}"}


def bash(line, program, environ):
    """What bash's own completion gets for the line."""
    text = f"""{script("bash")}
COMP_LINE={shlex.quote(f"orchestrator {line}")} COMP_POINT=${{#COMP_LINE}}
_orchestrator_completion 2>&1
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return output(["bash", "--norc", "--noprofile", "-c", text], program, environ).split()


def output(words, program, environ):
    settings = {"env": environ, "cwd": program.folder, "capture_output": True, "text": True, "timeout": 60}
    return subprocess.run(words, check=True, **settings).stdout


def test_bash_completes_a_target(program, environ):
    assert bash("why travis:acme/", program, environ) == ["acme/a@main", "acme/b@main", "acme/c@main"]


def typed(shell, first, line, end, program, environ):
    """What a shell at a terminal shows once the line was typed and Tab was pressed."""
    pid, at = pty.fork()
    if pid == 0:
        os.chdir(program.folder)
        os.execvpe(shell[0], shell, environ)
    shown = b""

    def until(words, seconds=60.0):
        nonlocal shown
        over = time.monotonic() + seconds
        while words not in shown and time.monotonic() < over:
            if select.select([at], [], [], 0.1)[0]:
                shown += os.read(at, 65536)
        assert words in shown, shown.decode(errors="replace")

    try:
        os.write(at, f"{first}; echo RE''ADY\n".encode())
        until(b"READY\r\n")
        shown = b""
        os.write(at, f"orchestrator {line}\t".encode())
        until(end)
    finally:
        os.close(at)
        os.waitpid(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "end"), [("stat", b"status"), ("why travis:acme/b", b"@main"), ("status mon", b"day-1")]
)
def test_bash_at_a_terminal_completes(line, end, program, environ):
    first = 'eval "$(orchestrator completion bash)"'
    typed(["bash", "--norc", "--noprofile", "-i"], first, line, end, program, environ)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "end"), [("stat", b"status"), ("why travis:acme/b", b"@main"), ("status mon", b"day-1")]
)
def test_zsh_completes(line, end, program, environ):
    first = 'autoload -U compinit; compinit -u -D; eval "$(orchestrator completion zsh)"'
    typed(["zsh", "-f", "-i"], first, line, end, program, environ)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stat", ["status"]),
        ("why travis:acme/b", ["travis:acme/b@main"]),
        ("run --only=oth", ["--only=other/group/x"]),
        ("run -o html=orch", ["html=orchestrator.yaml"]),
        ("run orch", ["orchestrator.yaml"]),
    ],
)
def test_fish_completes(line, words, program, environ):
    text = f"orchestrator completion fish | source; complete -C {shlex.quote(f'orchestrator {line}')}"
    shown = output(["fish", "--no-config", "-c", text], program, environ)
    assert [one.partition("\t")[0] for one in shown.splitlines()] == words
