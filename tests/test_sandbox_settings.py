"""Settings from a map, worlds for manifests, counts."""

import json
import re
from collections import Counter

import pytest
from sandbox_visitor import HEADERS, START, Visitor

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Limit, Target
from orchestrator.lookalike.kit.counters import marker_in, worst_window
from orchestrator.lookalike.kit.faults import KINDS, FaultRule
from orchestrator.lookalike.kit.http import Incoming
from orchestrator.lookalike.kit.settings import Duration, Rule, Share, read
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, Shares, demo, fitted, numbered, parse, repos_of


def test_nothing_said_is_a_hundred_repos_and_defaults():
    assert parse({}) == Settings(repos=numbered(100))


def test_every_setting_can_be_said():
    given = {
        "repos": ["acme/a"],
        "branches": "dev",
        "default_branch": "dev",
        "token": "t",
        "login": "l",
        "user_id": 1,
        "others": {"t": "u"},
        "shares": {"failed": 1},
        "process": 1,
        "build": 1,
        "jobs": 2,
        "concurrency": 1,
        "change": 1,
        "hourly": 1,
        "hour": 1,
        "burst": "off",
        "minute": False,
        "latency": 1,
        "lag": 1,
        "reorder": True,
        "skew": 1,
        "prefix": "/api",
        "auto_cancel": True,
        "strict_branches": False,
        "faults": [{"kind": "html"}],
        "rehearsal": {"fails": "acme/a"},
        "time_scale": 2,
        "patience": 1,
        "seed": 1,
    }
    assert given.keys() == set(Settings.__struct_fields__)
    found, default = parse(given), Settings()
    assert [name for name in given if getattr(found, name) == getattr(default, name)] == []


def test_settings_are_read_as_a_person_writes_them():
    found = parse(
        {
            "repos": 4,
            "owners": ["acme", "umbrella"],
            "branches": ["main", "release/1.x"],
            "shares": {"failed": "5%", "inactive": 0.1},
            "process": "500ms",
            "build": ["2s", "1m"],
            "jobs": [1, 3],
            "burst": "off",
            "minute": {"calls": 100, "per": "10s"},
            "prefix": "/api/",
            "time_scale": 10,
            "seed": -3,
            "faults": [{"kind": "lost_after", "share": "30%", "nth": 3, "methods": "all", "between": [1, "2m"]}],
        }
    )
    assert found == Settings(
        repos=tuple(
            RepoSpec(slug) for slug in ("acme/svc-001", "umbrella/svc-002", "acme/svc-003", "umbrella/svc-004")
        ),
        branches=("main", "release/1.x"),
        shares=Shares(failed=0.05, inactive=0.1),
        process=(0.5, 0.5),
        build=(2.0, 60.0),
        jobs=(1, 3),
        burst=None,
        minute=Rule(100, 10.0),
        prefix="/api",
        time_scale=10.0,
        seed=-3,
        faults=(FaultRule("lost_after", share=0.3, nth=(3,), methods=(), between=(1.0, 120.0)),),
    )


def test_repos_can_be_told_one_by_one():
    found = parse({"repos": ["acme/a", {"slug": "acme/b", "id": 7, "active": False, "branches": "dev", "hourly": 2}]})
    assert found.repos == (RepoSpec("acme/a"), RepoSpec("acme/b", id=7, active=False, branches=("dev",), hourly=2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"repo": 3}, "unknown key `repo`; did you mean `repos`?"),
        ({"shares": {"fialed": 0.1}}, "shares: unknown key `fialed`; did you mean `failed`?"),
        ({"shares": {"failed": 5}}, "shares.failed: expected a share such as 5% or 0.05, found 5"),
        ({"shares": []}, "shares: expected a map"),
        ({"process": "soon"}, "process: expected a duration such as 2s"),
        ({"process": True}, "process: expected a duration"),
        ({"build": [5, 2]}, "build: expected the least before the most"),
        ({"build": [1, 2, 3]}, "build: expected a duration such as 2s, or two: [least"),
        ({"jobs": 0}, "jobs: expected a number of jobs from 1 to 200"),
        ({"jobs": 201}, "jobs: expected a number of jobs from 1 to 200"),
        ({"seed": "x"}, "seed: expected a whole number"),
        ({"hourly": -1}, "hourly: expected a whole number"),
        ({"time_scale": 0}, "time_scale: expected a number above 0"),
        ({"reorder": "yes"}, "reorder: expected true or false"),
        ({"branches": [1.1]}, "branches[0]: expected text; quote it, found 1.1"),
        ({"branches": 3}, "branches: expected text"),
        ({"burst": 50}, "burst: expected off, or a map of calls, per, ban"),
        ({"burst": {"calls": 0}}, "burst.calls: expected a whole number from 1 on"),
        ({"burst": {"rate": 1}}, "burst: unknown key `rate`"),
        ({"prefix": "api"}, "prefix: expected a path such as /api"),
        ({"repos": ["widget"]}, "repos[0].slug: expected owner/name"),
        ({"repos": [{"id": 3}]}, "repos[0].slug: is missing"),
        ({"repos": ["acme/a", "ACME/a"]}, "repos: ACME/a is there twice"),
        ({"repos": "many"}, "repos: expected a list"),
        ({"repos": [{"slug": "a/b", "vcs": "gitlub"}]}, "repos[0].vcs: unknown word 'gitlub'; did you mean `gitlab`?"),
        ({"faults": [{"share": 1}]}, "faults[0].kind: is missing; write one of never_left"),
        ({"faults": [{"kind": "lost_aftre"}]}, "faults[0].kind: unknown word 'lost_aftre'; did you mean `lost_after`?"),
        ({"faults": [{"kind": ["torn"]}]}, "faults[0].kind: unknown word ['torn']"),
        ({"others": {"t": 1}}, "others: expected text"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_remedy(given, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        parse(given)


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), ("2", 2.0), (2.5, 2.5), ("1.5m", 90.0), ("1d", 86400.0)])
def test_durations_have_units(text, seconds):
    assert read(Duration, text, "x") == seconds


@pytest.mark.parametrize("given", [float("nan"), float("inf"), -1, None, "1w", ""])
def test_a_duration_that_is_none_is_refused(given):
    with pytest.raises(UsageError):
        read(Duration, given, "x")


@pytest.mark.parametrize("given", [float("nan"), -0.1, 1.1, "101%", True, "half"])
def test_a_share_that_is_none_is_refused(given):
    with pytest.raises(UsageError):
        read(Share, given, "x")


def target(repo, branch=None, **request):
    return Target(f"travis:{repo}@{branch}", "travis", repo, branch, request=request)


def ask(world, method, path, body=b""):
    headers = {**HEADERS, "authorization": f"token {world.settings.token}"}
    reply = world.handle(Incoming(method, path, (), headers, body), START)
    return reply.status, json.loads(reply.body) if reply.body.startswith(b"{") else reply.body


def world_for(targets=(), accounts=(), **changes):
    return TravisLookAlike(fitted(Settings(**changes), targets, accounts))


def test_a_world_for_a_manifest_knows_its_repos_and_branches():
    specs = repos_of(
        [
            target("acme/api", "main"),
            target("ACME/api", "release/1.0"),
            target("acme/old", "master"),
            target("4242", "main"),
            target("acme/elsewhere", vcs="gitlab"),
        ]
    )
    assert specs == (
        RepoSpec("acme/api", branches=("main", "release/1.0")),
        RepoSpec("acme/old", branches=("master",), default_branch="master"),
        RepoSpec("sandbox/repo-4242", id=4242, branches=("main",)),
        RepoSpec("acme/elsewhere", vcs="gitlab"),
    )


def test_each_target_of_a_manifest_can_be_triggered_in_its_world():
    world = world_for([target("acme/api", "main"), target("4242"), target("acme/x", vcs="gitlab")])
    for path in ("/repo/acme%2Fapi", "/repo/4242", "/repo/gitlab/acme%2Fx"):
        assert ask(world, "POST", f"{path}/requests")[0] == 202


def account(name, *limits):
    return Account(name, "travis", "https://api.travis-ci.com", limits=limits)


def test_a_written_limit_is_allowed_however_the_windows_lie():
    raised = account(
        "travis",
        Limit("triggers", 200, 10.0, written=True),
        Limit("calls", 9000, 60.0, written=True),
        Limit("triggers_per_repo", 50, 1800.0, "repo", written=True),
    )
    settings = fitted(Settings(), [], [raised])
    assert settings.burst == Rule(601, 30.0, 3600.0)
    assert settings.minute == Rule(9001, 60.0)
    assert settings.hourly == 100


def test_defaults_keep_the_real_rules():
    careful = account("travis", Limit("triggers", 40, 30.0), Limit("calls", 1800, 60.0))
    settings = fitted(Settings(), [], [careful])
    assert (settings.burst, settings.minute, settings.hourly) == (Settings().burst, Settings().minute, 10)


def test_two_accounts_in_one_world_are_allowed_their_sum():
    both = [account(name, Limit("triggers", 40, 30.0)) for name in ("one", "two")]
    assert fitted(Settings(), [], both).burst.calls == 81


def test_every_world_has_a_user_of_its_own():
    first, second = world_for([]), world_for([])
    assert first.settings.token != second.settings.token
    assert ask(first, "GET", "/user")[1]["login"] != ask(second, "GET", "/user")[1]["login"]
    assert ask(first, "GET", "/user")[1]["id"] != ask(second, "GET", "/user")[1]["id"]


def test_a_rehearsal_that_is_repeated_goes_the_same_way():
    targets = [target(f"acme/svc-{n}", "main") for n in range(150)]

    def outcome(seed):
        world = TravisLookAlike(fitted(replace(demo(), seed=seed, burst=None), targets))
        statuses = [ask(world, "POST", f"/repo/acme%2Fsvc-{n}/requests")[0] for n in range(150)]
        world.advance(START + 3600)
        states = [build.state for row in world.counters.accepted for build in row.builds]
        return statuses, states

    assert outcome(0) == outcome(0) != outcome(1)
    statuses, states = outcome(0)
    assert statuses.count(406) == 3
    assert 0 < len(states) - states.count("passed") < 30


def test_a_demo_is_lively():
    settings = demo()
    assert settings.build[1] < 10
    assert 0 < settings.shares.failed < 0.1


@pytest.mark.parametrize(
    ("times", "per", "worst"),
    [([], 30, 0), ([1.0], 30, 1), ([0.0, 29.9, 30.0, 30.1], 30, 3), ([0.0, 30.0, 60.0], 30, 1), ([1.0] * 5, 30, 5)],
)
def test_the_worst_window_slides(times, per, worst):
    assert worst_window(times, per) == worst


def test_the_last_marker_of_a_message_counts():
    assert marker_in("see [old.run.aaaaaaaa] [2026-01-05T01.abcdefg2]") == "[2026-01-05T01.abcdefg2]"
    assert marker_in("[run.short] [run.ABCDEFGH]") is None
    assert marker_in(None) is None


def test_duplicates_and_counts_are_seen():
    visitor = Visitor()
    for message in ("a [run.aaaaaaaa]", "b [run.bbbbbbbb]", "a [run.aaaaaaaa]", "plain"):
        visitor.later(1).create(message=message)
    visitor.call("POST", "/repo/acme%2Fnone/requests")
    found = visitor.later(200).world.stats()
    assert (found["requests"], found["posts"], found["calls"], found["worst_of_a_repo"]) == (4, 5, 5, 4)
    assert found["duplicates"] == {"[run.aaaaaaaa]": 2}
    assert found["by_repo"] == {"acme/widget": 4}
    assert found["refusals"] == {"not_found": 1}
    assert visitor.world.counters.by_marker() == Counter({"[run.aaaaaaaa]": 2, "[run.bbbbbbbb]": 1})
    assert worst_window(visitor.world.counters.posts, 2.5) == 4


def test_accepted_requests_are_told_as_they_were_sent():
    visitor = Visitor()
    visitor.create(branch="main", message="m [run.aaaaaaaa]", config={"a": 1}, merge_mode="merge")
    [row] = [each.as_json() for each in visitor.world.counters.accepted]
    assert (row["id"], row["repo"], row["marker"], row["config"]) == (31337, "acme/widget", "[run.aaaaaaaa]", {"a": 1})
    assert row["received_at"] == "2027-01-15T08:00:00.000Z"


def test_every_kind_of_fault_is_documented(pytestconfig):
    text = (pytestconfig.rootpath / "docs" / "sandbox.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
    assert [name for name in Settings.__struct_fields__ if f"`{name}`" not in text] == []
    assert [name for name in Shares.__struct_fields__ if f"`{name}`" not in text] == []
