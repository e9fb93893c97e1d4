"""Every command line that any output advises, pasted: it is grammatical, and does what was said where it was said."""

import ast
import re
import shlex
import shutil
import sqlite3
import time
from functools import partial
from pathlib import Path

import anyio
import click
import pytest
from cli_machine import Program, context_of
from leases import claim

import orchestrator
from orchestrator.app.context import Silent, writable
from orchestrator.app.plan import Choices
from orchestrator.app.resume import resume
from orchestrator.app.start import made_of
from orchestrator.app.which import exact
from orchestrator.cli.main import ALIASES, VERBS, root
from orchestrator.core.errors import Exit
from orchestrator.core.events import Doubted, Ended, Intended, Interrupted, RunEnded
from orchestrator.core.model import COORDINATOR, Account, Outcome, Plan, Target, marker_of
from orchestrator.core.options import RunOptions
from orchestrator.journal.process import this_process
from orchestrator.journal.sql.sqlite import Sqlite
from orchestrator.journal.store import open_journal
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike

pytestmark = pytest.mark.usefixtures("quick_rehearsals")

PACKAGE = Path(orchestrator.__file__).parent
AT = 1_767_571_200.0
STATE = ("--state", "s")


# -- the grammar ------------------------------------------------------------------------------------------------


def texts(path):
    """The texts of a module that may be shown, with X for what is filled in; docstrings are not shown."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(one) for one in ast.walk(node)} - {id(node)}
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | inside:
            yield node.value


def advised(text):
    """The command lines in a text: in backticks, in parentheses, or to the end of their line."""
    for found in re.finditer(r"(?<![\w./-])orchestrator (?:(?!\.\.\.)[^\n`;)|>])+", text):
        line = found[0].split(", ")[0].strip()
        verb = line.split()[1]
        if verb in {*VERBS, *ALIASES}:
            yield re.sub(r"\s+(lists|makes|writes|brings|or)\b.*", "", line)


ADVICE = sorted(
    {
        line
        for path in PACKAGE.rglob("*.py")
        if "lookalike" not in path.parts
        for it in texts(path)
        for line in advised(it)
    }
)


def test_advice_is_found():
    assert len(ADVICE) > 15
    assert "orchestrator resume X" in ADVICE


@pytest.mark.parametrize("suffix", ["", " --state s --sandbox"])
@pytest.mark.parametrize("line", ADVICE)
def test_every_advised_command_is_grammatical(line, suffix):
    _, verb, *words = shlex.split(f"{line}{suffix}")
    command = root.get_command(click.Context(root), verb)
    command.make_context(verb, words, parent=click.Context(root))


# -- situations -------------------------------------------------------------------------------------------------


LABEL = r"(?:: +|^ *|^[a-z][a-z ]{2,24} )"  # what may stand before a command that takes the rest of its line
COMMAND = re.compile(rf"`(orchestrator [^`]+)`|\((orchestrator [^)]+)\)|{LABEL}(orchestrator \w+.*)$")


def pasted(text):
    """The command lines in what was printed, as they stand there."""
    for line in text.splitlines():
        for found in COMMAND.finditer(line):
            command = next(group for group in found.groups() if group)
            if "orchestrator: " not in command:
                yield from command.split("; ")


class Served(Program):
    """A program with a manifest of some repositories at a look-alike, whose clock is so many seconds ahead."""

    world: TravisLookAlike
    ahead = 0.0

    def paste(self, line):
        """Runs a line that was printed."""
        program, *words = shlex.split(line)
        assert program == "orchestrator"
        return self(*words)

    def said(self):
        """The commands in what the last one printed, by verb, those of stdout last."""
        return {line.split()[1]: line for line in [*pasted(self.err), *pasted(self.out)]}


@pytest.fixture
def make(tmp_path, capsys):
    """Makes programs, each with a service of its own."""
    with anyio.from_thread.start_blocking_portal() as portal:
        stack = []

        def made(repos=3, **settings):
            plain = {"repos": repos, "build": ["1ms", "2ms"], "process": ["1ms", "2ms"], "shares": {}}
            program = Served(tmp_path, capsys)
            program.world = TravisLookAlike.from_settings({**plain, **settings})
            clock = partial(lambda program: time.time() + program.ahead, program)
            context = portal.wrap_async_context_manager(serve(program.world, now=clock))
            served = context.__enter__()
            stack.append(context)
            program.environ["TOKEN"] = served.token
            names = ", ".join(f"acme/svc-{n:03}@main" for n in range(1, repos + 1))
            hasty = "defaults: {timeouts: {settle: 100ms}}"
            account = f"providers: {{travis: {{url: '{served.url}', token: env:TOKEN, {hasty}}}}}"
            program.write("orchestrator.yaml", f"version: 1\nname: t\n{account}\ntargets: [{names}]\n")
            return program

        yield made
        for context in stack:
            context.__exit__(None, None, None)


def test_after_failures(make):
    program = make(shares={"failed": "100%"})
    assert program("run", "--run-id", "one", *STATE) == Exit.FAILED
    said = program.said()
    assert {"why", "retry", "report"} == set(said)
    assert program.paste(said["why"]) == 0
    assert "failed" in program.out
    assert program.paste(said["report"]) == 0
    assert program.out.count("svc-") >= 3
    assert program.paste(said["retry"]) == Exit.FAILED
    assert len(program.world.counters.accepted) == 6


@pytest.mark.parametrize("shown", ["report", "status", "why"])
def test_after_a_rule_stopped_the_run(make, shown):
    program = make(repos=6, shares={"failed": "100%"})
    assert program("run", "--run-id", "one", "-x", "-j", "1", *STATE) == Exit.STOPPED
    words = {"why": ("why", "one", "svc-006")}.get(shown, (shown, "one"))
    assert program(*words, *STATE) == 0
    line = program.said()["resume"]
    assert "--override-stop" in line
    before = len(program.world.counters.accepted)
    program.paste(line)
    assert len(program.world.counters.accepted) > before


def test_a_retry_beside_a_stopped_run_takes_what_failed_and_leaves_what_is_open(make):
    program = make(repos=6, shares={"failed": "100%"})
    assert program("run", "--run-id", "one", "-x", "-j", "1", *STATE) == Exit.STOPPED
    before = len(program.world.counters.accepted)
    assert program.paste(program.said()["retry"]) in (Exit.FAILED, Exit.STOPPED)
    assert "left out, since they are open in that run" in program.err
    assert len(program.world.counters.accepted) == 2 * before


def test_after_a_time_out(make):
    program = make(build=["300ms", "400ms"])
    assert program("run", "--run-id", "one", "--timeout", "200ms", *STATE) == Exit.TIMEOUT
    assert program.paste(program.said()["resume"]) == 0
    assert "3 passed" in program.out


def test_after_a_wrong_token_was_mended(make):
    program = make()
    token, program.environ["TOKEN"] = program.environ["TOKEN"], "wr0ng"
    assert program("run", *STATE) == Exit.ACCOUNT
    said = program.said()
    program.environ["TOKEN"] = token
    assert program.paste(said["why"]) == 0
    assert program.paste(said["resume"]) == 0


async def left_over(program, run, *events, ends=None):
    """A run of the manifest's first target that a process has left, or ended with an exit code."""
    text = (program.folder / "orchestrator.yaml").read_text()
    account = Account("travis", "travis", re.search("url: '(.*?)'", text)[1], token="env:TOKEN")
    targets = (Target("travis:acme/svc-001@main", "travis", "acme/svc-001", "main"),)
    async with open_journal(str(program.folder / "s"), now=lambda: AT) as journal:
        made = made_of(Plan("t", targets, {"travis": account}), RunOptions())
        await journal.make_run(run, made, targets, AT, forbid_overlap=False)
        leases = [await claim(journal, run, name, this_process(), AT, 30.0) for name in (COORDINATOR, "travis")]
        await journal.append(leases[1], events, AT + 10)
        await journal.append(leases[0], [RunEnded(ends) if ends is not None else Interrupted("SIGINT", 130)], AT + 60)
        await journal.release(leases)


ONE = "travis:acme/svc-001@main"
ASKED = (Intended(ONE, 1, marker_of("t", "one", ONE)), Doubted(ONE, 1, "the answer was lost", AT, AT + 1))
IN_DOUBT = (*ASKED, Ended(ONE, Outcome.IN_DOUBT, "in_doubt", "nobody knows"))


def test_for_a_target_in_doubt(make):
    program = make()
    anyio.run(lambda: left_over(program, "one", *IN_DOUBT, ends=3))
    assert program("why", "one", ONE, *STATE) == 0
    ways = [line for line in pasted(program.out) if " resume " in line]
    assert len(ways) == 3
    absent = next(line for line in ways if "--assume-absent" in line)
    assert program.paste(absent) == 0
    assert "1 passed" in program.out
    assert program.paste(absent) == Exit.USAGE
    assert "not in doubt" in program.err
    assert program.paste(program.said()["why"]) == 0
    assert "svc-001" in program.out


def test_for_a_target_in_doubt_whose_request_a_person_knows(make):
    program = make()
    assert program("run", "--run-id", "before", *STATE, "-o", "json=r.json", "--only", "acme/svc-001") == 0
    request = program.world.counters.accepted[0].id
    anyio.run(lambda: left_over(program, "one", *IN_DOUBT, ends=3))
    assert program("why", "one", ONE, *STATE) == 0
    line = next(line for line in pasted(program.out) if "--adopt-request" in line)
    assert program.paste(line.replace("=ID", f"={request}")) == 0
    assert len(program.world.counters.accepted) == 1


def test_when_an_open_run_holds_the_targets(make):
    program = make()
    anyio.run(lambda: left_over(program, "one", *ASKED))
    assert program("run", *STATE) == Exit.NOT_STARTED
    said = program.said()
    assert {"resume", "cancel"} <= set(said)
    assert program.paste(f"{said['cancel']} --keep-builds") in (0, 1, 3), program.err
    assert program("runs", "--open", "-o", "json", *STATE) == 0


def test_when_a_retry_is_held_no_flag_is_advised_that_it_lacks(make):
    program = make(shares={"failed": "100%"})
    assert program("run", "--run-id", "one", *STATE) == Exit.FAILED
    anyio.run(lambda: left_over(program, "two", *ASKED))
    assert program("retry", "one", *STATE) == Exit.NOT_STARTED
    assert "--overlap" not in program.err
    assert {"resume", "cancel"} <= set(program.said())


def test_when_somebody_else_is_at_work(make):
    """Somebody else is another event loop here, in a thread; what is said rests on the leases alone."""
    program = make(build=["1h", "1h"])
    assert program("run", "--run-id", "one", "--timeout", "1ms", *STATE) == Exit.TIMEOUT

    async def go_on():
        context = context_of(state=str(program.folder / "s"), environ=program.environ, observer=Silent())
        async with writable(context) as journal:
            drive = await resume(await exact(journal, "one"), journal, Choices(), context)
            return (await drive.run()).code

    with anyio.from_thread.start_blocking_portal() as portal:
        other = portal.start_task_soon(go_on)
        while program("status", "one", *STATE) != 0 or "watch" not in program.said():
            assert not other.done()
        follow = program.said()["watch"]
        assert program("run", *STATE) == Exit.NOT_STARTED
        assert {"watch", "cancel"} <= set(program.said())
        assert program("resume", "one", *STATE) == Exit.STATE
        assert "watch" in program.said()
        program.ahead = 3600.0 * 2
        assert program.paste(follow) == 0
        assert "3 passed" in program.out
        assert other.result() is Exit.OK


def test_when_an_id_stands_for_another_plan(make):
    program = make()
    assert program("run", "--run-id", "one", "--only", "acme/svc-001", *STATE) == 0
    assert program("run", "--run-id", "one", *STATE) == Exit.NOT_STARTED
    assert program.paste(program.said()["report"]) == 0
    assert "1 passed" in program.out


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (("status", "nosuch"), "runs"),
        (("resume",), "runs"),
        (("cancel",), "runs"),
        (("why", "one", "nosuch"), "report"),
    ],
)
def test_when_something_is_not_there(make, words, verb):
    program = make()
    assert program("run", "--run-id", "one", *STATE) == 0
    assert program(*words, *STATE) == Exit.USAGE
    assert program.paste(program.said()[verb]) == 0
    assert program.out


def test_when_there_is_no_run_yet(make):
    program = make()
    assert program("status", *STATE) == Exit.USAGE
    assert program.paste(program.said()["run"]) == 0
    assert program("status", *STATE) == 0


def test_when_there_is_no_manifest_yet(tmp_path, capsys):
    program = Served(tmp_path, capsys)
    assert program("run") == Exit.USAGE
    assert program.paste(program.said()["init"]) == 0
    for line in [*pasted(program.out)]:
        assert program.paste(line) in (0, 1, 6), line
    assert program("init", "sub") == 0
    assert all("sub/orchestrator.yaml" in line for line in pasted(program.out) if "wrote" not in line)
    assert program.paste(program.said()["check"]) == 0


def test_when_a_report_could_not_be_written(make):
    program = make()
    program.write("out", "a file where a folder should be")
    assert program("run", "--run-id", "one", "-o", "json=out/my report.json", *STATE) == Exit.FAILED
    line = program.said()["report"]
    (program.folder / "out").unlink()
    assert program.paste(line) == 0
    assert (program.folder / "out" / "my report.json").exists()


def test_in_files_of_a_report(make):
    program = make(shares={"failed": "100%"})
    assert program("run", "--run-id", "one", "-o", "junit=j.xml", *STATE) == Exit.FAILED
    lines = [line for line in pasted((program.folder / "j.xml").read_text()) if " why " in line]
    assert len(lines) == 3
    assert program.paste(re.sub("<.*", "", lines[0])) == 0


def test_after_an_export(make, monkeypatch):
    program = make()
    monkeypatch.chdir(program.folder)
    assert program("run", "--run-id", "one", *STATE) == 0
    assert program("runs", "one", "--export", "copy.db", *STATE) == 0
    assert program.paste(program.said()["runs"]) == 0
    assert "one" in program.out


@pytest.mark.parametrize("first", ["the copy", "the original"])
def test_an_exported_run_says_that_it_moves_and_both_copies_resumed_start_nothing_twice(make, first, monkeypatch):
    program = make(repos=4, build=["100ms", "150ms"])
    monkeypatch.chdir(program.folder)
    assert program("run", "--run-id", "one", "-j", "2", "--timeout", "50ms", *STATE) == Exit.TIMEOUT
    assert program("runs", "one", "--export", "copy.db", *STATE) == 0
    assert "one is open, and moves with the file: resume it there and no more here" in program.err
    states = ["sqlite:///copy.db", "s"] if first == "the copy" else ["s", "sqlite:///copy.db"]
    for state in states:
        assert program("resume", "one", "--state", state) == 0
        assert "targets.taken_over" in program.err
        assert "4 passed" in program.out
    assert "journal.went_back" in program.err
    assert len(program.world.counters.accepted) == 4


def test_where_the_warnings_of_a_plan_are(make):
    program = make()
    manifest = (program.folder / "orchestrator.yaml").read_text()
    program.write("other.yaml", f"{manifest}params: {{image: a}}\ndefaults: {{config: {{script: make}}}}\n")
    assert program("run", "other.yaml", "--only", "acme/svc-*", "-p", "image=b c", "--log-format", "json", *STATE) == 0
    line = re.search(r'"shown_by":"(.*?)"', program.err)[1].replace('\\"', '"')
    assert program.paste(line) == 0
    assert "warning:" in program.out


# -- states that cannot be used ---------------------------------------------------------------------------------


def test_when_the_disk_was_full(make, monkeypatch):
    program, append = make(), Sqlite._append

    def full(this, db, document):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = 13
        raise error

    monkeypatch.setattr(Sqlite, "_append", full)
    assert program("run", "--run-id", "one", *STATE) == Exit.STATE
    monkeypatch.setattr(Sqlite, "_append", append)
    assert program.paste(program.said()["resume"]) == 0
    assert "3 passed" in program.out


def test_when_a_damaged_state_was_restored_from_a_copy(make):
    program = make(build=["1h", "1h"])
    assert program("run", "--run-id", "one", "-j", "1", "--timeout", "100ms", *STATE) == Exit.TIMEOUT
    assert program("runs", "--export", "copy.db", *STATE) == 0
    assert program("resume", "one", "-j", "3", "--detach", *STATE) == 0
    assert len(program.world.counters.accepted) == 3
    program.ahead = 3600.0 * 2
    for path in (program.folder / "s").iterdir():
        path.write_bytes(bytes(range(256)) * 64)
    assert program("status", "one", *STATE) == Exit.STATE
    line = program.said()["resume"]
    shutil.rmtree(program.folder / "s")
    (program.folder / "s").mkdir()
    (program.folder / "copy.db").rename(program.folder / "s" / "state.db")
    assert program.paste(line) == 0
    assert len(program.world.counters.accepted) == 3


@pytest.mark.parametrize("version", [1, 2])
def test_when_a_state_is_of_an_older_version(make, version):
    program = make()
    (program.folder / "s").mkdir()
    shutil.copy(Path(__file__).parent / "data" / f"state-v{version}.db", program.folder / "s" / "state.db")
    assert program("status", *STATE) == Exit.STATE
    assert program.paste(program.said()["run"]) == 0
    assert program("status", *STATE) == 0


# -- rehearsals -------------------------------------------------------------------------------------------------


def test_after_a_rehearsal_nothing_is_advised_that_its_sandbox_took_along(tmp_path, capsys):
    program = Served(tmp_path, capsys)
    rehearsal = ("run", "--repo", "acme/x@main", "--sandbox", "--run-id", "r1", "--timeout", "1ms", *STATE)
    assert program(*rehearsal) == Exit.TIMEOUT
    seen = set(program.said().values())
    for words in (("why", "r1", "x"), ("status", "r1"), ("report", "r1")):
        assert program(*words, *STATE) == 0
        seen |= set(program.said().values())
    assert not [line for line in seen if line.split()[1] in ("resume", "retry")]
    for line in seen:
        assert program.paste(line) == 0, line
    assert program.paste(f"orchestrator resume r1 --sandbox {' '.join(STATE)}") == Exit.USAGE
    assert program.said() == {}
    assert "start a new one" in program.err
