"""The verbs that work from the journal, and the ones that drive a run, against the look-alike in this process."""

import gc
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from cli_machine import Program
from leases import claim

from orchestrator.app.overlap import FORBID, SKIP, Held, make_run
from orchestrator.app.start import made_of, new_id
from orchestrator.core.errors import Exit, NotStarted
from orchestrator.core.events import Doubted, Ended, Intended, Interrupted, Requested, RunEnded, Sighted
from orchestrator.core.frozen import collect_now, replace
from orchestrator.core.model import COORDINATOR, DEFAULT_FAIL_ON, Account, Build, BuildState, Outcome, Plan, Target
from orchestrator.core.options import RunOptions
from orchestrator.core.secrets import Redactor
from orchestrator.journal.process import this_process
from orchestrator.journal.sql.tables import within
from orchestrator.journal.store import open_journal
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.manifest import Manifest
from orchestrator.testing import MemoryJournal

pytestmark = pytest.mark.usefixtures("quick_polls")

REPOS = ("acme/a", "acme/b", "acme/c")
TARGETS = tuple(Target(f"travis:{repo}@main", "travis", repo, "main") for repo in REPOS)
ACCOUNT = Account("travis", "travis", "https://api.travis-ci.com", token="env:TRAVIS_TOKEN")
AT = 1_767_571_200.0  # 2026-01-05T00:00:00Z


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys, ORCHESTRATOR_STATE="")


async def story(folder: Path, run: str, outcomes, ends=True, left_by="SIGINT", parent=None, targets=TARGETS, **kept):
    """Journals a run of the targets with these outcomes; None stays open."""
    async with open_journal(str(folder), now=lambda: AT) as journal:
        plan = Plan("nightly", targets, {"travis": ACCOUNT})
        options = RunOptions(fail_on=tuple(sorted(DEFAULT_FAIL_ON)), **kept)
        made = made_of(plan, options, parent)
        await journal.make_run(run, made, targets, AT, forbid_overlap=False)
        leases = [await claim(journal, run, name, this_process(), AT, 30.0) for name in (COORDINATOR, "travis")]
        for number, (target, outcome) in enumerate(zip(targets, outcomes, strict=True)):
            events = [Requested(target.id, str(number), "answered")]
            if outcome is not None:
                state = BuildState(outcome)
                url = f"https://app.travis-ci.com/github/{target.repo}/builds/{number}"
                events.append(Sighted(target.id, Build(str(number), state, state.value, url=url)))
                events.append(Ended(target.id, outcome, f"build_{outcome}", f"build {outcome}"))
            await journal.append(leases[1], events, AT + 10)
        code = 1 if Outcome.FAILED in outcomes else 0
        last = RunEnded(code) if ends else Interrupted(left_by, int(Exit.SIGINT))
        await journal.append(leases[0], [last], AT + 60)
        await journal.release(leases)


def tell(program, run, *outcomes, **more):
    anyio.run(lambda: story(program.folder / "s", run, outcomes, **more))


P, F = Outcome.PASSED, Outcome.FAILED


def test_a_run_is_found_by_a_prefix_that_is_unique(program):
    tell(program, "2026-one", P, F, P)
    tell(program, "2026-two", P, P, P)
    assert program("status", "2026-o", "--state", "s") == 0
    assert "did not pass \u00b7 exit 1  nightly 2026-one\n" in program.out
    assert program("status", "2026", "--state", "s") == Exit.USAGE
    assert "2026-one" in program.err
    assert "2026-two" in program.err
    assert program("status", "2027", "--state", "s") == Exit.USAGE
    assert "orchestrator runs" in program.err


def of_a_newer_version(program, *runs):
    """Each of these runs ends with an event that this program does not know."""
    with closing(sqlite3.connect(program.folder / "s" / "state.db")) as db, db:
        db.execute("INSERT INTO kind (num, name) VALUES (99, 'teleported')")
        for run in runs:
            own = "SELECT stream.num FROM stream JOIN run ON run.num = stream.run WHERE run.id = ? LIMIT 1"
            (num,) = db.execute(own, (run,)).fetchone()
            last = "SELECT max(key) FROM event WHERE key BETWEEN ? AND ?"
            db.execute(f"UPDATE event SET kind = 99 WHERE key = ({last})", within(num))  # from above


def test_runs_that_a_newer_version_wrote_are_refused_and_no_others(program):
    tell(program, "old", P, F, P)
    tell(program, "left", P, F, None, ends=False)
    tell(program, "known", P, F, P)
    of_a_newer_version(program, "old", "left")
    for words in (("runs",), ("flaky",), ("status", "known"), ("plan", "--repo", "acme/other@main")):
        assert program(*words, "--state", "s") == Exit.OK, words
    for words in (("status", "old"), ("resume", "left"), ("report", "left"), ("retry", "old")):
        assert program(*words, "--state", "s") == Exit.STATE
        assert "'teleported' that this version does not know; upgrade" in program.err


def test_a_whole_id_wins_over_longer_ones(program):
    tell(program, "a", P, F, P)
    tell(program, "ab", P, P, P)
    assert program("status", "a", "--state", "s") == 0
    assert "nightly a\n" in program.out


def test_shown_is_exit_0_and_with_exit_status_the_runs_own(program):
    tell(program, "one", P, F, P)
    for words in (["status"], ["report"], ["why", "acme/b"], ["diff", "one", "one"]):
        assert program(*words, "--state", "s") == 0
        assert program(*words, "--exit-status", "--state", "s") == 1


def test_a_report_comes_in_any_format_to_stdout_and_files(program):
    tell(program, "one", P, F, P)
    assert program("report", "-o", "json", "-o", "list=new/list.txt", "--state", "s") == 0
    assert program.json["totals"]["failed"] == 1
    assert (program.folder / "new/list.txt").read_text() == "acme/b@main\n"


def test_a_report_that_cannot_be_written_is_told_and_not_ignored(program):
    tell(program, "one", P, P, P)
    program.write("file", "in the way")
    assert program("report", "-o", "json=file/r.json", "--state", "s") == 1
    assert "file/r.json" in program.err
    assert "Traceback" not in program.err


def test_the_job_summary_of_a_ci_server_is_added_to(program):
    tell(program, "one", P, F, P)
    program.write("summary.md", "before\n")
    program.environ["GITHUB_STEP_SUMMARY"] = str(program.folder / "summary.md")
    program("report", "--state", "s")
    text = (program.folder / "summary.md").read_text()
    assert text.startswith("before\n")
    assert "acme/b" in text


def test_why_tells_the_chain_of_one_target(program):
    tell(program, "one", P, F, None)
    assert program("why", "acme/b", "--state", "s") == 0
    assert "travis:acme/b@main: failed" in program.out
    assert program("why", "one", "b", "--state", "s") == 0
    assert program("why", "acme/z", "--state", "s") == Exit.USAGE
    assert "no target 'acme/z'" in program.err


def test_why_tells_the_chain_to_programs_and_refuses_what_it_cannot_write(program):
    tell(program, "one", P, F, None)
    assert program("why", "acme/b", "--state", "s", "-o", "json") == 0
    assert program.json["target"] == "travis:acme/b@main"
    assert program.json["outcome"] == "failed"
    assert program.json["events"][0]["kind"] == "run_made"
    for output, said in (("bogus", "-o bogus"), ("junit=f.xml", "-o junit"), ("json=f.json", "redirect it")):
        assert program("why", "acme/b", "--state", "s", "-o", output) == Exit.USAGE
        assert said in program.err


def test_diff_tells_what_changed(program):
    tell(program, "one", P, F, P)
    tell(program, "two", F, P, P)
    assert program("diff", "one", "two", "-o", "json", "--state", "s") == 0
    assert program.json["totals"] == {**program.json["totals"], "newly_failing": 1, "fixed": 1}


def test_runs_lists_prunes_and_exports(program):
    tell(program, "old", P, P, P)
    tell(program, "open", P, None, None, ends=False)
    assert program("runs", "--state", "s", "-o", "json") == 0
    assert {row["id"]: row["status"] for row in program.json} == {"old": "ended", "open": "open"}
    assert program("runs", "--export", "all.db", "--state", "s") == 0
    assert program("runs", "--prune", "30d", "--state", "s") == 0
    program("runs", "--state", "s", "-o", "json")
    assert [row["id"] for row in program.json] == ["open"]
    program("runs", "--state", f"sqlite:///{program.folder}/all.db", "-o", "json")
    assert {row["id"] for row in program.json} == {"old", "open"}


@pytest.mark.parametrize(("named", "left"), [("x2", ["x1", "y1"]), ("x", ["y1"]), ("", [])])
def test_prune_forgets_only_what_is_named_and_lists_it(named, left, program):
    for run in ("x1", "x2", "y1"):
        tell(program, run, P, P, P)
    assert program("runs", *filter(None, [named]), "--prune", "30d", "--state", "s") == 0
    assert {line.split()[0] for line in program.out.splitlines()} == {"x1", "x2", "y1"} - set(left)
    program("runs", "--state", "s", "-o", "json")
    assert sorted(row["id"] for row in program.json) == left


def test_prune_of_a_run_that_is_not_there_forgets_nothing_and_says_so(program):
    tell(program, "one", P, P, P)
    assert program("runs", "--prune", "1s", "NOSUCH", "--state", "s") == Exit.USAGE
    assert "no run in this state begins with 'NOSUCH', or has it in its id; nothing was forgotten" in program.err
    assert program("runs", "--prune", "1s", "--open", "--state", "s") == Exit.USAGE
    assert "--open and --prune do not go together" in program.err
    program("runs", "--state", "s", "-o", "json")
    assert [row["id"] for row in program.json] == ["one"]


def test_reports_status_and_diff_are_about_the_selected_targets_only(program):
    tell(program, "one", P, F, F)
    tell(program, "two", F, F, F)
    assert program("report", "one", "--only", "acme/b", "-o", "list", "--state", "s") == 0
    assert program.out == "acme/b@main\n"
    assert program("report", "one", "--exclude", "acme/a", "--first", "1", "-o", "json", "--state", "s") == 0
    assert [row["repo"] for row in program.json["targets"]] == ["acme/b"]
    assert program("status", "one", "--only", "acme/[bc]", "--only", "acme/a", "--state", "s") == 0
    assert "1 of 1 done" in program.out
    assert program("diff", "one", "two", "--exclude", "acme/a", "-o", "json", "--state", "s") == 0
    assert program.json["totals"]["newly_failing"] == 0
    for words in (("report",), ("status",), ("diff", "one")):
        assert program(*words, "two", "--only", "acme/bb", "--state", "s") == Exit.NOT_STARTED
        assert program.out == ""
        assert "none of 3 targets is selected by --only acme/bb" in program.err


def test_cancel_that_selects_nothing_or_ends_the_whole_run_besides_cancels_nothing(program):
    tell(program, "one", P, None, None, ends=False)
    assert program("cancel", "one", "--only", "acme/x*", "--state", "s") == Exit.NOT_STARTED
    assert program("cancel", "one", "--only", "acme/b", "--keep-builds", "--state", "s") == Exit.USAGE
    assert program("status", "one", "-o", "json", "--state", "s") == 0
    assert program.json["run"]["status"] == "interrupted"


def test_resume_without_an_open_run_lists_none_and_several(program):
    tell(program, "one", P, P, P)
    assert program("resume", "--state", "s") == Exit.USAGE
    assert "no run in this state is open" in program.err
    tell(program, "two", P, None, P, ends=False)
    tell(program, "three", P, None, P, ends=False)
    assert program("resume", "--state", "s") == Exit.USAGE
    assert "two" in program.err
    assert "three" in program.err


def test_running_an_ended_run_again_prints_its_report_and_exits_with_its_code(program):
    tell(program, "one", P, F, P)
    assert program("run", "no-such-manifest.yaml", "--run-id", "one", "--state", "s", "-o", "json=r.json") == 1
    assert "\u2713 2 passed   \u00d7 1 failed" in program.out
    assert json.loads((program.folder / "r.json").read_text())["run"]["id"] == "one"


def test_quiet_prints_nothing_when_the_exit_is_0_and_the_report_else(program):
    tell(program, "good", P, P, P)
    tell(program, "bad", P, F, P)
    assert program("run", "--run-id", "good", "--state", "s", "-q") == 0
    assert program.out == program.err == ""
    assert program("run", "--run-id", "bad", "--state", "s", "-q") == 1
    assert "acme/b" in program.out


def test_an_open_run_that_holds_a_target_forbids_another(program):
    tell(program, "open", P, None, None, ends=False)
    program.environ["TRAVIS_TOKEN"] = "x" * 20
    assert program("run", "--repo", "acme/a@main", "--state", "s") == Exit.NOT_STARTED
    assert "travis:acme/a@main  in open" in program.err
    assert "--overlap allow" in program.err


def test_cancel_of_an_ended_run_does_nothing_and_exits_6(program):
    tell(program, "one", P, P, P)
    assert program("cancel", "one", "--state", "s") == Exit.NOT_STARTED
    assert "nothing to cancel" in program.err


def test_nothing_to_retry_refuses_to_start(program):
    tell(program, "one", P, P, P)
    assert program("retry", "--state", "s") == Exit.NOT_STARTED


def test_retry_of_what_is_in_doubt_finds_none_where_there_is_none(program):
    tell(program, "one", P, F, P)
    assert program("retry", "--outcome", "in_doubt", "--state", "s") == Exit.NOT_STARTED
    assert program("retry", "--outcome", "in_doubt", "--same-commit", "--state", "s") == Exit.USAGE
    assert "in doubt has none" in program.err


def test_a_rehearsal_has_a_state_of_its_own_and_pasted_commands_find_it(program):
    assert program("run", "--repo", "acme/x@main", "--sandbox", "--detach", "--run-id", "try") == 0
    assert program.out == "try\n"
    assert program("runs", "-o", "json") == 0
    assert program.json == []
    assert program("status", "try") == 0
    assert "1 requested" in program.out
    assert program("resume", "try", "--sandbox") == Exit.USAGE
    assert "its sandbox ended with its process" in program.err


def test_printed_commands_name_the_state_that_was_given(program):
    tell(program, "one", P, F, None, ends=False)
    for verb, wanted in (("status", "resume one --state s"), ("report", "retry one --state s")):
        assert program(verb, "one", "--state", "s") == 0
        assert wanted in program.out
    assert program("why", "one", "c", "--state", "s") == 0
    assert "orchestrator resume one --state s" in program.out
    (program.folder / "s").rename(program.folder / "my state")
    program("report", "one", "--state", "my state")
    assert "orchestrator why one acme/b@main --state 'my state'\n" in program.out


@pytest.mark.usefixtures("quick_rehearsals")
def test_a_rehearsal_advises_no_retry_of_what_its_sandbox_took_along(program):
    assert program("run", "--repo", "acme/x@main", "--sandbox", "--detach", "--run-id", "try") == 0
    for verb in ("report", "status"):
        assert program(verb, "try") == 0
        assert "retry" not in program.out
        assert "resume" not in program.out
    assert program("why", "try", "x") == 0


async def overlapping(driven: bool) -> str:
    journal, made = MemoryJournal(now=lambda: AT), made_of(Plan("nightly", TARGETS, {"travis": ACCOUNT}), {})
    await make_run("one", made, TARGETS, journal, AT)
    if driven:
        await claim(journal, "one", COORDINATOR, this_process(), AT, 30.0)
    with pytest.raises(Held) as caught:
        await make_run("two", made, TARGETS, journal, AT)
    return caught.value.text(" --state s")


HERE, THERE = ACCOUNT, replace(ACCOUNT, url="https://travis.corp.example")


@pytest.mark.parametrize(
    ("account", "is_held"),
    [
        (HERE, True),
        (replace(HERE, name="night"), True),
        (replace(HERE, name="night", token="env:OF_ANOTHER_USER"), False),
        (THERE, False),
        (replace(THERE, name="night"), False),
    ],
)
def test_targets_are_held_by_service_and_user_and_not_by_the_name_of_the_account(account, is_held):
    targets = tuple(replace(it, id=f"{account.name}:{it.repo}@main", account=account.name) for it in TARGETS)
    made = made_of(Plan("nightly", targets, {account.name: account}), RunOptions())

    async def both(overlap=FORBID):
        journal = MemoryJournal(now=lambda: AT)
        await make_run("one", made_of(Plan("nightly", TARGETS[:2], {"travis": HERE}), {}), TARGETS[:2], journal, AT)
        return await make_run("two", made, targets, journal, AT, overlap)

    assert tuple(anyio.run(both, SKIP)) == (targets[2:] if is_held else targets)
    if is_held:
        with pytest.raises(Held, match=f"{targets[0].id}  in one"):
            anyio.run(both)


def test_an_overlap_with_a_run_at_work_advises_to_watch_it():
    told = anyio.run(overlapping, True)
    assert "wait for it (orchestrator watch one --state s) or end it (orchestrator cancel one --state s)" in told
    assert "resume" not in told


def test_an_overlap_with_a_run_that_nobody_drives_advises_to_finish_it():
    assert "finish it (orchestrator resume one --state s)" in anyio.run(overlapping, False)


def test_ids_sort_by_time_and_fit():
    ids = [new_id(AT + seconds) for seconds in (0, 1, 3600)]
    assert ids == sorted(ids)
    assert ids[0].startswith("20260105T000000Z-")


@pytest.mark.slow
def test_a_run_is_detached_and_watched_over_sockets(program):
    """The whole way, and no token anywhere."""
    world = TravisLookAlike.for_plan(
        [Target(f"travis:acme/r{n}@main", "travis", f"acme/r{n}", "main") for n in range(20)], []
    )
    lines = "\n".join(f"  - acme/r{n}" for n in range(20))
    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(world)) as served:
        program.environ["TRAVIS_TOKEN"] = served.token
        program.write(
            "orchestrator.yaml",
            f"version: 1\nname: t\nproviders: {{travis: {{type: travis, url: '{served.url}'}}}}\n"
            f"defaults: {{branches: [main]}}\nreports: {{json: out/r.json, junit: out/j.xml}}\ntargets:\n{lines}\n",
        )
        detached = program("run", "--run-id", "one", "--state", "s", "--detach", "-vv", "--log-format", "json")
        assert detached in (0, 1)
        assert program.out == "one\n"
        assert served.token not in program.err
        assert {"call.ended", "request.accepted"} <= {
            json.loads(x)["event"] for x in program.err.splitlines() if x[:1] == "{"
        }
        code = program("watch", "one", "--state", "s")
        report = json.loads((program.folder / "out/r.json").read_text())
        assert report["totals"]["open"] == 0
        assert report["run"]["exit_code"] == code
        assert world.counters.duplicates() == {}
        asked = [target for target in report["targets"] if target["request_id"] is not None]
        assert len(world.counters.by_marker()) == len(asked)
        program("report", "one", "-o", "json=again.json", "--state", "s")
        assert json.loads((program.folder / "again.json").read_text()) == report
    everything = b"".join(path.read_bytes() for path in program.folder.rglob("*") if path.is_file())
    assert served.token.encode() not in everything


def test_the_redactor_of_a_machine_prints_no_secret():
    redactor = Redactor()
    redactor.add("s3cret-t0ken")
    assert "s3cret" not in repr(redactor)


@pytest.mark.parametrize("words", [["--assume-absent", "acme/a"], ["--adopt-request", "acme/b=7"]])
def test_of_a_target_that_is_not_in_doubt_nobody_may_say_anything(program, words):
    tell(program, "open", P, None, None, ends=False)
    program.environ["TRAVIS_TOKEN"] = "t0ken"
    assert program("resume", "open", "--state", "s", *words) == Exit.USAGE
    assert "not in doubt, its request is" in program.err


def test_while_a_run_is_driven_neither_its_manifest_nor_its_plan_takes_memory(program, monkeypatch):
    kept = []

    async def drive(_):
        collect_now()  # as it begins
        kept.extend(type(one) for one in gc.get_objects() if isinstance(one, (Manifest, Plan)))
        raise NotStarted("enough")

    monkeypatch.setattr("orchestrator.app.drive.Drive.run", drive)
    program.environ["TRAVIS_TOKEN"] = "t0ken"
    program.write("orchestrator.yaml", "version: 1\ntargets: [acme/a@main]\n")
    assert program("run", "--state", "s") == Exit.NOT_STARTED
    assert kept == []


async def doubtful_story(folder: Path):
    """Journals a run that ended with one target in doubt."""
    async with open_journal(str(folder), now=lambda: AT) as journal:
        plan = Plan("nightly", TARGETS[:1], {"travis": ACCOUNT})
        await journal.make_run("r", made_of(plan, {}), TARGETS[:1], AT, forbid_overlap=False)
        leases = [await claim(journal, "r", name, this_process(), AT, 30.0) for name in (COORDINATOR, "travis")]
        (target,) = TARGETS[:1]
        lost = [Intended(target.id, 1, "[r.abcdefgh]"), Doubted(target.id, 1, "HTTP 502", AT, AT + 1.0)]
        await journal.append(leases[1], [*lost, Ended(target.id, Outcome.IN_DOUBT, "in_doubt", "lost")], AT + 10)
        await journal.append(leases[0], [RunEnded(3)], AT + 60)
        await journal.release(leases)


def test_a_resume_of_an_ended_run_looks_again_for_what_it_left_in_doubt(program, monkeypatch):
    async def drive(_):
        raise NotStarted("it looks")

    anyio.run(doubtful_story, program.folder / "s")
    monkeypatch.setattr("orchestrator.app.drive.Drive.run", drive)
    program.environ["TRAVIS_TOKEN"] = "t0ken"
    assert program("run", "--repo", "acme/a@main", "--run-id", "r", "--state", "s") == Exit.IN_DOUBT
    assert "has ended: nothing is triggered again" in program.err
    assert program("resume", "r", "--state", "s") == Exit.NOT_STARTED
    assert "it looks" in program.err


def test_a_run_leaves_the_report_file_alone_that_a_later_run_writes_too(program):
    file = program.folder / "out.json"
    for run in ("one", "two"):
        tell(program, run, P, F, P, reports={str(file): "json"})
    file.write_text("of run two")
    assert program("watch", "one", "--state", "s") == 1
    assert file.read_text() == "of run two"
    assert f"{file} is left as it is: run two" in program.err
    assert program("watch", "two", "--state", "s") == 1
    assert json.loads(file.read_text())["run"]["id"] == "two"
    assert program("watch", "one", "--state", "s", "-o", f"json={file}") == 1
    assert json.loads(file.read_text())["run"]["id"] == "one"


def test_a_run_and_its_retries_are_reported_as_one(program):
    tell(program, "night", P, F, F)
    tell(program, "again", P, F, parent="night", targets=TARGETS[1:])
    for run in ("night", "again"):
        assert program("report", run, "--merged", "--state", "s", "-o", "json") == 0
        assert program.json["run"]["merged"] == ["night", "again"]
        assert (program.json["totals"]["passed"], program.json["totals"]["failed"]) == (2, 1)
    assert program("report", "night", "--merged", "--state", "s", "-o", "html=all.html", "--exit-status") == 1
    assert "retried as <b><bdi>again" in (program.folder / "all.html").read_text()
    assert program("report", "night", "--state", "s", "-o", "json") == 0
    assert "merged" not in program.json["run"]


def test_a_retry_is_compared_with_what_it_left_alone(program):
    tell(program, "night", P, F, F)
    tell(program, "again", P, F, parent="night", targets=TARGETS[1:])
    assert program("diff", "night", "again", "--state", "s", "-o", "json") == 0
    assert (program.json["before"]["id"], program.json["after"]["id"]) == ("night", "again")
    assert {kind: n for kind, n in program.json["totals"].items() if n} == {"fixed": 1, "still_failing": 1}


def test_a_report_says_what_changed_since_another_run(program):
    tell(program, "monday", P, P, F)
    tell(program, "tuesday", P, F, P)
    for against in ("monday", "previous"):
        assert program("report", "tuesday", "--against", against, "--state", "s", "-o", "json") == 0
        since = program.json["since"]
        assert since["run"] == "monday"
        assert (since["newly_failing"], since["fixed"]) == (["travis:acme/b@main"], ["travis:acme/c@main"])
    assert program("report", "tuesday", "--against", "monday", "--state", "s") == 0
    assert "since monday: 1 newly failing, 1 fixed\n" in program.out
    assert "1 is new since monday." in program.out
    assert program("report", "tuesday", "--against", "monday", "--state", "s", "-o", "markdown") == 0
    assert "Since monday: 1 newly failing, 1 fixed\n" in program.out
    assert program("report", "monday", "--against", "previous", "--state", "s") == Exit.USAGE
    assert "no earlier run called 'nightly' has ended" in program.err


def test_a_report_of_a_retry_is_compared_with_what_it_retried_and_nothing_is_gone(program):
    tell(program, "night", P, F, F)
    tell(program, "again", P, F, parent="night", targets=TARGETS[1:])
    assert program("report", "again", "--against", "previous", "--state", "s", "-o", "json") == 0
    since = program.json["since"]
    assert since["run"] == "night"
    assert {kind: n for kind, n in since["totals"].items() if n} == {"fixed": 1, "still_failing": 1}


def test_the_job_summary_is_never_filled_beyond_what_the_server_keeps(program):
    tell(program, "one", P, F, P)
    program.environ["GITHUB_STEP_SUMMARY"] = str(program.folder / "summary.md")
    program.write("summary.md", "x" * 997_000)
    assert program("report", "--state", "s") == 0
    text = (program.folder / "summary.md").read_text()
    assert 997_500 < len(text.encode()) < 1_000_000
    program.write("summary.md", "x" * 999_000)
    assert program("report", "--state", "s") == 0
    assert len((program.folder / "summary.md").read_text()) == 999_000
    assert "is full; the report was not added" in program.err


def test_detaching_succeeds_when_a_target_was_refused_and_the_one_who_watches_judges(program):
    settings = {"repos": 1, "process": ["1ms", "2ms"], "build": ["300ms", "400ms"], "shares": {}}
    world = TravisLookAlike.from_settings(settings)
    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(world)) as served:
        program.environ["TRAVIS_TOKEN"] = served.token
        account = f"providers: {{travis: {{url: '{served.url}'}}}}\ndefaults: {{branches: [main]}}\n"
        program.write("orchestrator.yaml", f"version: 1\n{account}targets: [acme/svc-001, acme/nowhere]\n")
        assert program("run", "--run-id", "one", "--state", "s", "--detach") == Exit.OK
        assert program.out == "one\n"
        assert program("watch", "one", "--state", "s") == Exit.FAILED
        assert "1 rejected" in program.out


ENTERPRISE = replace(ACCOUNT, name="corp", url="https://travis.corp.example", token="env:CORP_TOKEN")


async def enterprise(folder: Path):
    """A run on another service, of three targets with a message, an environment and a matrix, that all failed."""
    request = {"message": "base image", "env": {"IMAGE": "u"}}
    targets = tuple(
        Target(f"corp:acme/{name}@main", "corp", f"acme/{name}", "main", request={**request, **more}, labels=("core",))
        for name, more in (("a", {"config": {"dist": "jammy"}}), ("b", {}), ("c", {}))
    )
    async with open_journal(str(folder), now=lambda: AT) as journal:
        made = made_of(Plan("nightly", targets, {"corp": ENTERPRISE}), RunOptions())
        await journal.make_run("night", made, targets, AT)
        leases = [await claim(journal, "night", name, this_process(), AT, 30.0) for name in (COORDINATOR, "corp")]
        await journal.append(leases[1], [Ended(t.id, F, "build_failed", "build failed") for t in targets], AT + 10)
        await journal.append(leases[0], [RunEnded(1)], AT + 60)
        await journal.release(leases)


def test_a_list_says_what_its_lines_cannot_and_like_keeps_it(program):
    anyio.run(enterprise, program.folder / "s")
    assert program("report", "night", "-o", "list", "--state", "s") == 0
    lines = program.out
    assert "acme/a@main\nacme/b@main\nacme/c@main\n# these lines do not say account corp" in lines
    assert "https://travis.corp.example), message, env, config, labels; `orchestrator run --like night" in lines
    program.write("again.txt", lines + "acme/new\n")
    assert program("plan", "--like", "night", "--from", "again.txt", "--offline", "--state", "s", "-o", "json") == 0
    plan = program.json
    assert plan["accounts"].keys() == {"corp"}
    assert (plan["accounts"]["corp"]["url"], plan["name"]) == ("https://travis.corp.example", "nightly")
    asked = {target["id"]: target["request"] for target in plan["targets"]}
    both = {"message": "base image", "env": {"IMAGE": "u"}}
    assert asked["corp:acme/a@main"] == {**both, "config": {"dist": "jammy"}}
    assert asked["corp:acme/b@main"] == asked["corp:acme/new"] == both
    assert any("1 line not in run night" in warning for warning in plan["warnings"])


def test_like_wants_a_list_and_a_run_that_is_there(program):
    anyio.run(enterprise, program.folder / "s")
    assert program("plan", "--like", "night", "--state", "s") == Exit.USAGE
    assert "name them with --from or --repo" in program.err
    assert program("plan", "--like", "nosuch", "--repo", "acme/a", "--state", "s") == Exit.USAGE
    assert program("plan", "orchestrator.yaml", "--like", "night", "--state", "s") == Exit.USAGE
    assert program("run", "--like", "night", "--repo", "acme/a", "--sandbox", "--state", "s") == Exit.USAGE


async def with_doubts(folder: Path):
    """An open run: one target passed, two lost their answers."""
    async with open_journal(str(folder), now=lambda: AT) as journal:
        await journal.make_run("one", made_of(Plan("n", TARGETS, {"travis": ACCOUNT}), RunOptions()), TARGETS, AT)
        lease = await claim(journal, "one", "travis", this_process(), AT, 30.0)
        events = [Ended(TARGETS[0].id, P, "passed", "build passed")]
        for target in TARGETS[1:]:
            events += [Intended(target.id, 1, None), Doubted(target.id, 1, "reset", AT, AT + 1)]
        await journal.append(lease, events, AT + 10)
        await journal.release([lease])


def test_status_names_as_many_as_it_says_are_done(program):
    anyio.run(with_doubts, program.folder / "s")
    assert program("status", "one", "--state", "s") == 0
    assert "1 of 3 done: 1 passed\n" in program.out
    assert "open: 2 requested (2 in doubt)\n" in program.out
