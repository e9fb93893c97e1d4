"""Two names of one repository: an error before anything is sent where it is known then, and never two builds."""

import random
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import date
from types import MappingProxyType

import anyio
import pytest
from cli_machine import Program, context_of
from fake_service import FAKE, FakeProvider, FakeService, make_run, targets

from orchestrator import manifest as manifests
from orchestrator.app import names as app_names
from orchestrator.app.start import made_of
from orchestrator.core.errors import Exit, UsageError
from orchestrator.core.events import Intended, Prepared, Refused
from orchestrator.core.frozen import replace
from orchestrator.core.model import Outcome, Target
from orchestrator.core.names import Names, told, twins
from orchestrator.core.secrets import Secrets
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.gitea import ForgejoLookAlike, GiteaLookAlike
from orchestrator.lookalike.github import GitHubLookAlike
from orchestrator.lookalike.gitlab import GitLabLookAlike
from orchestrator.lookalike.kit.server import serve
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec as TravisRepo
from orchestrator.lookalike.travis.settings import Settings as TravisSettings
from orchestrator.providers import registry
from orchestrator.providers.port import Line
from orchestrator.testing import Crash, Disk, MemoryJournal

OLD, NEW = "acme/old", "acme/new"


def a_target(repo, branch="main", **more):
    return Target(f"x:{repo}@{branch}", "x", repo, branch, **more)


# -- the decision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
def test_the_target_with_the_present_name_is_the_one_in_whatever_order_they_stand(order):
    both = [a_target(OLD, where="m:1"), a_target(NEW, where="m:2")][::order]
    [twin] = twins(both, {OLD: "Acme/New", NEW: "acme/new"}, folds=True)
    assert (twin.target.repo, twin.other.repo) == (OLD, NEW)
    assert told(twin) == "acme/old is Acme/New, which also stands at m:2"


def test_of_two_old_names_the_first_that_is_asked_about_is_the_one():
    known, first, second = {OLD: NEW, "acme/older": NEW}, a_target(OLD, where="m:1"), a_target("acme/older")
    [twin] = twins([first, second], known, folds=True)
    assert twin.target is second
    assert told(twin) == "acme/older is acme/new, which also stands at m:1 as acme/old"
    names = Names([first, second], folds=True)
    assert names.twin(second, NEW) is None
    assert names.twin(first, NEW).other is second


def test_another_branch_matrix_or_name_is_another_target():
    one = a_target(OLD)
    others = [a_target(NEW, "dev"), replace(a_target(NEW), matrix=(("a", "1"),)), replace(a_target(NEW), name="b")]
    assert twins([one, *others], {OLD: NEW}, folds=True) == []


def test_case_counts_where_the_service_says_so():
    assert twins([a_target(OLD), a_target("acme/New")], {OLD: NEW}, folds=False) == []
    assert twins([a_target("ACME/new")], {"ACME/new": NEW}, folds=True) == []


# -- the engine, with kills -------------------------------------------------------------------------------------------


class Renamed(FakeProvider):
    """Answers to old names, as its service does."""

    names = MappingProxyType({})

    async def prepare(self, target):
        await anyio.sleep(0.1)
        name = self.names.get(target.repo, target.repo)
        return {"v": 1} if name == target.repo else {"v": 1, "repository": name}


class Place:
    def __init__(self, **names):
        self.service = FakeService()
        self.kind = type("Kind", (Renamed,), {"names": {f"acme/{old}": f"acme/{new}" for old, new in names.items()}})

    @asynccontextmanager
    async def connect(self, account):
        yield Line(account, FAKE, self.service.send, lambda send: self.kind(None, send), "hash")

    async def drive(self, journal, **options):
        how = {"now": self.service.now, "process": Process("here", "boot", 1, "1"), "random": random.Random(1)}
        return await Engine("r1", journal, self.connect, Options(**options), **how).run()

    def accepted(self):
        """By what the repository is called now, how many builds were asked for."""
        names = self.kind.names
        return Counter(names.get(one.repo, one.repo) for one in self.service.requests)


async def verdicts(journal, wanted):
    history = await load(journal, "r1")
    return {target.repo: history.of(target.id).verdict for target in wanted}


@pytest.mark.anyio
@pytest.mark.parametrize("names", [("acme/old", "acme/new"), ("acme/new", "acme/old")])
async def test_the_old_name_is_never_sent_whichever_comes_first(names):
    place, wanted = Place(old="new"), targets(*names, "acme/other")
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, wanted)
    assert await place.drive(journal) is Exit.FAILED
    found = await verdicts(journal, wanted)
    assert (found[OLD].outcome, found[OLD].code) == (Outcome.REJECTED, "same_repository")
    assert found[OLD].reason == (
        "acme/old is acme/new, which also stands at fake:acme/new; nothing was triggered; remove one of the two"
    )
    assert found[NEW].outcome is found["acme/other"].outcome is Outcome.PASSED
    assert place.accepted() == {NEW: 1, "acme/other": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("record", range(9))
@pytest.mark.parametrize(
    ("names", "wanted"), [({"old": "new"}, ("old", "new")), ({"old": "new", "older": "new"}, ("old", "older"))]
)
async def test_killed_at_any_record_one_build_is_asked_for(names, wanted, record, before):
    place, wanted = Place(**names), targets(*(f"acme/{name}" for name in wanted))
    journal = MemoryJournal(now=place.service.now, dies_at=record, dies_before=before)
    await make_run(journal, wanted)
    try:
        await place.drive(journal)
    except* Crash:
        journal.kill()
    await anyio.sleep(5.0)
    after = MemoryJournal(journal.disk, now=place.service.now)
    await place.drive(after)
    found = await verdicts(after, wanted)
    assert sorted(verdict.outcome for verdict in found.values()) == [Outcome.PASSED, Outcome.REJECTED]
    assert place.accepted() == {NEW: 1}


@pytest.mark.anyio
@pytest.mark.parametrize("record", range(4, 10))
async def test_a_process_that_follows_knows_which_of_two_old_names_was_asked_for(record):
    place, wanted = Place(old="new", older="new"), targets("acme/old", "acme/older")
    journal = MemoryJournal(now=place.service.now, dies_at=record)
    await make_run(journal, [wanted[0], replace(wanted[1], needs=(wanted[0].id,))])
    with suppress(Crash):
        await place.drive(journal)
    assert journal.is_dead
    after = MemoryJournal(journal.disk, now=place.service.now)
    assert await place.drive(after) is Exit.FAILED
    found = await verdicts(after, wanted)
    assert (found[OLD].outcome, found["acme/older"].code) == (Outcome.PASSED, "same_repository")
    assert place.accepted() == {NEW: 1}


@pytest.mark.anyio
async def test_one_that_is_prepared_long_after_the_other_was_sent_is_refused():
    place, wanted = Place(old="new"), targets("acme/new", "acme/old")
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, [wanted[0], replace(wanted[1], needs=(wanted[0].id,))])
    assert await place.drive(journal) is Exit.FAILED
    events = [entry.event for entry in await journal.read("r1", {})]
    looked = [event.repo for event in events if isinstance(event, Prepared)]
    assert looked == [NEW, OLD]
    assert [event.target for event in events if isinstance(event, Intended)] == ["fake:acme/new"]
    assert [event.code for event in events if isinstance(event, Refused)] == ["same_repository"]
    assert place.accepted() == {NEW: 1}


@pytest.mark.anyio
async def test_a_renamed_repository_that_stands_there_once_is_built_under_the_name_that_is_written():
    place, wanted = Place(old="new"), targets("acme/old@main", "acme/new@dev")
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, wanted)
    assert await place.drive(journal) is Exit.OK
    assert {one.repo for one in place.service.requests} == {OLD, NEW}


@pytest.mark.anyio
async def test_where_only_the_old_name_is_driven_the_target_that_stands_in_the_run_counts():
    place, wanted = Place(old="new"), targets("acme/old", "acme/new")
    journal = MemoryJournal(now=place.service.now)
    await make_run(journal, wanted)
    await place.drive(journal, drives=frozenset({"fake:acme/old"}))
    assert place.accepted() == {}
    await place.drive(MemoryJournal(journal.disk, now=place.service.now))
    assert place.accepted() == {NEW: 1}


# -- the whole program over sockets -----------------------------------------------------------------------------------

KINDS = {
    "github": GitHubLookAlike,
    "gitlab": GitLabLookAlike,
    "gitea": GiteaLookAlike,
    "forgejo": ForgejoLookAlike,
}
every = pytest.mark.parametrize("type_", KINDS)


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


@contextmanager
def served(program, type_, entries="[acme/old@main, acme/new@main, acme/other@main]"):
    kind, quick = KINDS[type_], {"queue": (0.05, 0.1), "build": (0.1, 0.3)}
    names = ({"slug": OLD, "moved_to": NEW}, {"slug": "acme/older"}, {"slug": "acme/other"})
    spec = type(kind.from_settings({"repos": ["a/b"]}).settings.repos[0])
    look_alike = kind(kind.kind(repos=tuple(spec(**one) for one in names), **quick))
    key = "" if type_ == "gitlab" else "defaults: {workflow: ci.yml}\n"
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(look_alike)) as at,
    ):
        program.environ["T"] = at.token
        account = f"{{type: {type_}, url: '{at.url}', token: 'env:T', limits: {{triggers: 100/1s}}}}"
        program.write("orchestrator.yaml", f"version: 1\nproviders: {{ci: {account}}}\n{key}targets: {entries}\n")
        yield look_alike


@every
def test_run_and_plan_refuse_both_names_before_anything_is_sent_and_doctor_names_them(program, type_):
    with served(program, type_) as world:
        for verb in (("plan",), ("run", "--yes"), ("run", "--dry-run")):
            assert program(*verb) == Exit.USAGE, program.err
            assert "duplicate target ci:acme/old@main: acme/old is acme/new, which also stands at" in program.err
            assert "orchestrator.yaml:" in program.err
            assert "remove one of the two" in program.err
        assert program("doctor") == Exit.FAILED
        assert "BAD   acme/old: acme/old is acme/new, which also stands at orchestrator.yaml:" in program.out
        assert world.counters.accepted == []


@every
@pytest.mark.usefixtures("quick_polls")
def test_what_is_not_asked_before_is_refused_when_it_is_prepared(program, type_, monkeypatch):
    monkeypatch.setattr(app_names, "MOST", 0)
    with served(program, type_) as world:
        assert program("run", "--yes", "-q", "-o", "json") == Exit.FAILED, program.err
        rows = {row["repo"]: row for row in program.json["targets"]}
        assert (rows[OLD]["outcome"], rows[OLD]["code"]) == ("rejected", "same_repository")
        assert "acme/old is acme/new, which also stands at orchestrator.yaml:" in rows[OLD]["reason"]
        assert rows[NEW]["outcome"] == rows["acme/other"]["outcome"] == "passed"
        assert dict(world.counters.by_repo()) == {NEW: 1, "acme/other": 1}
        assert program("retry", "--yes", "-q") == Exit.NOT_STARTED
        assert "under another name of the repository: ci:acme/old@main" in program.err
        assert len(world.counters.accepted) == 2


@every
@pytest.mark.usefixtures("quick_polls")
def test_a_second_plan_asks_nobody_again_and_a_run_of_the_old_name_alone_keeps_it(program, type_):
    with served(program, type_, "[acme/old@main, acme/other@main]") as world:
        assert program("plan") == Exit.OK, program.err
        asked, handle = [], world.handle
        world.handle = lambda call, now: [asked.append(call.path), handle(call, now)][1]
        assert program("plan") == Exit.OK, program.err
        assert not [path for path in asked if path.endswith(("/other", "%2Fother"))]
        assert program("run", "--yes", "-q", "-o", "json") == Exit.OK, program.err
        assert {row["repo"] for row in program.json["targets"]} == {OLD, "acme/other"}
        assert dict(world.counters.by_repo()) == {NEW: 1, "acme/other": 1}


@pytest.mark.parametrize("record", [1, 3, 5])
@pytest.mark.parametrize("type_", ["github", "gitlab"])
@pytest.mark.usefixtures("quick_polls")
def test_killed_between_the_two_and_resumed_over_sockets_one_build_is_asked_for(program, type_, record):
    async def play(plan, secrets):
        disk = Disk()
        await MemoryJournal(disk, now=time.time).make_run("r1", made_of(plan, {}), plan.targets, time.time())
        for dies_at in (record, None):
            journal, process = MemoryJournal(disk, dies_at, now=time.time), Process("here", "boot", 1, "1")

            def connect(account):
                return registry.connect(account, secrets)

            how = {"now": time.time, "process": process, "random": random.Random(1)}
            try:
                await Engine("r1", journal, connect, Options(), **how).run()
            except* Crash:
                journal.kill()
        history = await load(MemoryJournal(disk), "r1")
        return {target.repo: history.of(target.id).verdict.code for target in plan.targets}

    with served(program, type_, "[acme/new@main, acme/old@main]") as world:
        text = (program.folder / "orchestrator.yaml").read_bytes()
        read = manifests.read("m.yaml", text, declarations=registry.known(), load=lambda name: b"")
        secrets = Secrets(program.environ, program.folder, program.folder)
        codes = anyio.run(play, manifests.expand(read, today=date(2026, 1, 5)), secrets)
        assert codes == {NEW: "passed", OLD: "same_repository"}
        assert dict(world.counters.by_repo()) == {NEW: 1}


@pytest.mark.usefixtures("quick_polls")
def test_a_project_by_its_number_and_by_an_old_name_is_one(program):
    with served(program, "gitlab") as world:
        number = next(iter(world.tables.projects.values())).id
        program.write(
            "list.yaml", (program.folder / "orchestrator.yaml").read_text().replace("acme/new@main", f"'{number}@main'")
        )
        assert program("run", "list.yaml", "--yes") == Exit.USAGE, program.err
        assert "acme/old" in program.err
        assert world.counters.accepted == []


def test_plan_asks_no_host_that_it_must_show_first(program):
    with served(program, "gitlab") as world:
        text = (program.folder / "orchestrator.yaml").read_text()
        program.write("orchestrator.yaml", text.replace("'env:T'", "'command:cat token'"))
        before = len(world.counters.calls)
        assert program("plan") == Exit.OK, program.err
        assert program("plan", "--offline") == Exit.OK, program.err
        assert len(world.counters.calls) == before


def test_without_a_manifest_too_a_number_and_a_name_of_one_repository_are_refused(tmp_path):
    async def play():
        world = TravisLookAlike(TravisSettings(repos=(TravisRepo("acme/a"), TravisRepo("acme/b"))))
        number = next(repo.id for repo in world.tables.repos.values() if repo.slug == "acme/a")
        async with serve(world) as at:
            plan = manifests.from_repos([str(number), "acme/b", "acme/a"], declarations=registry.known())
            accounts = {name: replace(one, url=at.url, token="env:T") for name, one in plan.accounts.items()}
            context = context_of(environ={"T": at.token}, cwd=tmp_path, home=tmp_path, state=str(tmp_path / "state"))
            with pytest.raises(UsageError) as caught:
                await app_names.refuse_twins(replace(plan, accounts=accounts), context)
            assert f"{number} is acme/a, which also stands at " in str(caught.value)

    anyio.run(play)
