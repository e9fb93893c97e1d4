"""One run over several services: limits, outages and refusals of one account leave the others alone."""

import itertools
import json
import random
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import anyio
import pytest
from cli_machine import Program

from orchestrator import manifest as manifests
from orchestrator.app.start import made_of
from orchestrator.core.calls import Answer
from orchestrator.core.errors import Exit
from orchestrator.core.frozen import replace
from orchestrator.engine.engine import Engine, Options
from orchestrator.journal.history import load
from orchestrator.journal.port import Process
from orchestrator.lookalike.github import SECONDARY
from orchestrator.lookalike.kit.counters import worst_window
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.providers import registry
from orchestrator.providers.port import Line
from orchestrator.testing import Crash, MemoryJournal

pytestmark = pytest.mark.anyio
EPOCH = 1_767_571_200.0
MIXED = Path(__file__).parents[1] / "manifests" / "mixed.yaml"


def now():
    return EPOCH + anyio.current_time()


def plan_of():
    read = manifests.read(
        str(MIXED), MIXED.read_bytes(), declarations=registry.known(), load=lambda name: Path(name).read_bytes()
    )
    return manifests.expand(read, today=date(2026, 1, 5))


class Estate:
    """The look-alikes of all accounts, and a state that outlives processes."""

    def __init__(self, plan):
        self.plan = plan
        self.journal = MemoryJournal(now=now)
        self.refused = set()
        self.over = {}  # by account, what stands between it and its look-alike
        self.worlds = {}
        for name, account in plan.accounts.items():
            mine = [target for target in plan.targets if target.account == name]
            made = registry.lookalike_of(account.type).for_plan(mine, [account])
            self.worlds[name] = type(made)(replace(made.settings, **({"failed": 0.0} if name == "internal" else {})))

    @asynccontextmanager
    async def connect(self, account):
        world, said = self.worlds[account.name], registry.declared(account)
        token = "not-the-token" if account.name in self.refused else world.settings.token
        send = self.over.get(account.name, lambda send: send)(world.send(now, anyio.sleep, random.Random(1), token))
        made = registry.load(said.factory)
        yield Line(account, said, send, lambda send: made(account, send, lambda _: token), "hash")

    async def begin(self):
        await self.journal.make_run("r1", made_of(self.plan, {}), self.plan.targets, now())

    async def drive(self, journal=None):
        process = Process("here", "boot", 1, "1")
        engine = Engine(
            "r1", journal or self.journal, self.connect, Options(), now=now, process=process, random=random.Random(1)
        )
        return await engine.run()

    async def outcomes(self):
        history = await load(MemoryJournal(self.journal.disk, now=now), "r1")
        return {target.id: history.of(target.id).verdict for target in self.plan.targets}

    def taken(self):
        return {name: dict(world.counters.by_repo()) for name, world in self.worlds.items()}


def test_the_example_names_five_services():
    assert len({account.type for account in plan_of().accounts.values()}) == 5


async def test_all_accounts_end_in_one_run_and_what_needs_another_service_waits_for_it():
    estate = Estate(plan_of())
    await estate.begin()
    assert await estate.drive() in (Exit.OK, Exit.FAILED)
    outcomes = await estate.outcomes()
    assert all(outcomes.values())
    history = await load(estate.journal, "r1")
    base = history.of("internal:acme/base@main")
    after = [history.of(id_).triggered_at for id_ in outcomes if id_.startswith(("github:", "gitlab:"))]
    assert len(after) == 5
    assert min(after) >= base.verdict.at
    assert all(count == 1 for taken in estate.taken().values() for count in taken.values())


async def test_an_account_that_is_refused_stops_alone():
    estate = Estate(plan_of())
    estate.refused = {"buildkite"}
    await estate.begin()
    assert await estate.drive() is Exit.ACCOUNT
    outcomes = await estate.outcomes()
    assert {id_ for id_, verdict in outcomes.items() if verdict is None} == {
        "buildkite:acme/mobile@main",
        "buildkite:acme/desktop@main",
    }
    assert estate.taken()["buildkite"] == {}
    assert all(count == 1 for taken in estate.taken().values() for count in taken.values())


@pytest.mark.parametrize("name", ["github", "gitlab", "buildkite", "buildbot", "internal"])
async def test_an_outage_of_one_service_doubles_nothing_anywhere(name):
    estate = Estate(plan_of())
    rules = [FaultRule("lost_after", nth=(1,)), FaultRule("error_before", between=(1.0, 60.0), methods=())]
    estate.worlds[name].plan_faults(rules)
    await estate.begin()
    await estate.drive()
    outcomes = await estate.outcomes()
    others = [verdict for id_, verdict in outcomes.items() if not id_.startswith(f"{name}:")]
    assert all(others)
    assert all(count == 1 for taken in estate.taken().values() for count in taken.values())


MANY = {"github": 15, "gitlab": 30, "buildkite": 55, "buildbot": 6}
KEYS = {"github": ", workflow: ci.yml", "buildbot": ", scheduler: force"}
RATES = {"github": (1, 1.0), "gitlab": (5, 1.0)}  # triggers and seconds, where the service itself would not refuse more


def frozen_once(send):
    """GitHub's secondary limit, at the fifth trigger, for two minutes."""
    triggers = itertools.count(1)

    async def sent(call):
        if call.purpose == "trigger" and next(triggers) == 5:
            return Answer(403, {"message": SECONDARY}, {"retry-after": "120"})
        return await send(call)

    return sent


async def times_of(over=()):
    """By account, when each trigger was accepted, and with which statuses its calls were answered."""
    accounts = "{github: {}, gitlab: {}, buildkite: {}, buildbot: {url: 'https://ci.example'}}"
    repos = {name: ", ".join(f"acme/{name}-{n}" for n in range(many)) for name, many in MANY.items()}
    entries = [
        f"  - {{repos: [{those}], account: {name}, branches: [main]{KEYS.get(name, '')}}}\n"
        for name, those in repos.items()
    ]
    text = f"version: 1\nname: many\nproviders: {accounts}\ntargets:\n{''.join(entries)}"
    read = manifests.read("m.yaml", text.encode(), declarations=registry.known(), load=lambda name: b"")
    estate = Estate(manifests.expand(read, today=date(2026, 1, 5)))
    estate.over, began = dict(over), now()
    await estate.begin()
    await estate.drive()
    assert all((await estate.outcomes()).values())
    return {
        name: (sorted(row.created_at - began for row in world.counters.accepted), set(world.counters.statuses))
        for name, world in estate.worlds.items()
    }


async def test_each_service_sees_its_own_limits_kept_and_a_freeze_of_one_slows_no_other():
    calm, frozen = await times_of(), await times_of({"github": frozen_once})
    for name, (times, statuses) in [*calm.items(), *frozen.items()]:
        assert len(times) == MANY[name]
        assert not {"403", "429"} & statuses, name
        at_most, per = RATES.get(name, (len(times), 1.0))
        assert worst_window(times, per - 0.001) <= at_most, name
    spans = {name: (one[0][-1], frozen[name][0][-1]) for name, one in calm.items()}
    for name in ("gitlab", "buildkite", "buildbot"):
        alone, beside = spans[name]
        assert beside == pytest.approx(alone, abs=2.0), name
    assert spans["github"][1] - spans["github"][0] > 100.0


@pytest.mark.parametrize("seed", range(12))
async def test_killed_twice_each_target_has_one_request_at_its_own_server(seed):
    estate, chance = Estate(plan_of()), random.Random(seed)
    await estate.begin()
    for _ in range(2):
        mortal = MemoryJournal(estate.journal.disk, chance.randrange(2, 25), dies_before=chance.random() < 0.5, now=now)
        try:
            await estate.drive(mortal)
        except* Crash:
            mortal.kill()
        await anyio.sleep(chance.uniform(0.0, 90.0))
    await estate.drive(MemoryJournal(estate.journal.disk, now=now))
    outcomes = await estate.outcomes()
    undecided = {id_ for id_, verdict in outcomes.items() if verdict is None or verdict.outcome.is_provisional}
    skipped = {id_ for id_, verdict in outcomes.items() if verdict is not None and verdict.outcome.value == "skipped"}
    assert undecided <= {id_ for id_ in outcomes if id_.startswith("internal:")}, outcomes
    assert skipped <= {id_ for id_ in outcomes if id_.startswith(("github:", "gitlab:", "buildbot:bootloader"))}
    assert all(count == 1 for taken in estate.taken().values() for count in taken.values()), estate.taken()


@pytest.mark.usefixtures("quick_rehearsals")
def test_the_command_line_rehearses_all_of_them_at_once(tmp_path, capsys):
    program = Program(tmp_path, capsys)
    assert program("run", str(MIXED), "--sandbox", "--yes", "-q", "-o", "json=out.json") in (0, 1), program.err
    report = json.loads((tmp_path / "out.json").read_text())
    assert {row["provider"] for row in report["targets"]} == {"github", "gitlab", "buildkite", "buildbot", "webhook"}
    assert all(row["outcome"] in ("passed", "failed", "errored", "skipped") for row in report["targets"])


def test_plan_says_which_account_decides_and_sends_no_token_where_there_is_none(tmp_path, capsys):
    program = Program(tmp_path, capsys)
    assert program("plan", str(MIXED), "--offline") == 0, program.err
    assert "; account github decides it" in program.out or "; account gitlab decides it" in program.out
    assert "account github waits for: " in program.out
    assert "warning: account internal sends its token to ci.corp.example" in program.out
    assert "account buildbot sends its token" not in program.out


SEVERAL = """\
version: 1
providers: {one: {type: github}, two: {type: github}, three: {type: gitlab}, jenkins: {url: "https://j.corp", user: me},
  buildbot: {url: "https://b.corp"}, gitea: {}, travis: {}, buildkite: {}}
defaults: {env: {IMAGE: x}}
targets:
  - {repos: [acme/a, acme/b], account: one, workflow: ci.yml}
  - {repo: acme/c, account: one, workflow: ci.yml, env: {MORE: y}}
  - {repos: [acme/a, acme/b], account: two, workflow: ci.yml}
  - {repos: [acme/a, acme/b], account: three}
  - {repo: acme/a, account: jenkins}
  - {repo: acme/a, account: buildbot, scheduler: force}
  - {repo: acme/a, account: gitea, workflow: ci.yml}
  - {repo: acme/a, account: travis}
  - {repo: acme/a, account: buildkite}
"""


def test_plan_warns_once_for_each_account_whose_service_may_refuse_or_drop_env(tmp_path, capsys):
    program = Program(tmp_path, capsys)
    program.write("orchestrator.yaml", SEVERAL)
    assert program("plan", "--offline", "-o", "json") == 0, program.err
    told = [text for text in program.json["warnings"] if "`env` becomes" in text]
    assert [text.partition(" becomes ")[0] for text in told] == [
        f"account {name}: `env`" for name in ("one", "two", "three", "jenkins", "buildbot", "gitea")
    ]
    alone = "version: 1\nproviders: {github: {}}\ndefaults: {env: {A: b}, workflow: ci.yml}\ntargets: [acme/a]\n"
    program.write("orchestrator.yaml", alone)
    assert program("plan", "--offline", "-o", "json") == 0, program.err
    assert [text for text in program.json["warnings"] if text.startswith("`env` becomes inputs")]
