"""Which repositories are found on GitHub, and how long their runs took."""

import pytest
from github_bench import bench

from orchestrator.core.calls import Answer
from orchestrator.core.errors import LookFailed, Rejected
from orchestrator.lookalike.github import GitHubLookAlike
from orchestrator.lookalike.github.settings import RepoSpec
from orchestrator.providers.github import wire

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


SPECS = (
    RepoSpec("acme/svc-a", topics=("go", "service")),
    RepoSpec("acme/svc-b", topics=("Go",)),
    RepoSpec("acme/lib-c", topics=("rust",)),
    RepoSpec("beta/svc-d", topics=("go",)),
)


def there_with(*specs, **settings):
    return bench(repos=specs, **settings)


async def found(there, owner="acme", **keys):
    given = {key: (text,) if isinstance(text, str) else text for key, text in keys.items()}
    return [facts.slug for facts in await there.provider.narrowed(owner, given)]


@pytest.mark.parametrize(
    ("keys", "slugs"),
    [
        ({"topic": "go"}, ["acme/svc-a", "acme/svc-b"]),
        ({"topic": ("go", "service")}, ["acme/svc-a"]),
        ({"topic": "java"}, []),
        ({"team": "platform"}, ["acme/lib-c", "acme/svc-a"]),
        ({"team": "platform", "topic": "rust"}, ["acme/lib-c"]),
        ({"search": "svc"}, ["acme/svc-a", "acme/svc-b"]),
        ({"search": "topic:go svc-b"}, ["acme/svc-b"]),
        ({"team": "platform", "search": "svc"}, ["acme/svc-a"]),
    ],
)
async def test_all_that_is_written_narrows_what_is_found(keys, slugs):
    there = there_with(*SPECS, teams={"acme/platform": ("acme/lib-c", "acme/svc-a")})
    assert await found(there, **keys) == slugs


async def test_a_search_stays_with_its_owner_and_counts_as_one():
    there = there_with(*SPECS)
    await found(there, search="svc")
    [call] = there.calls
    assert dict(call.query)["q"] == "user:acme svc"
    assert call.limits == ("calls", "points", "searches")


async def test_what_a_search_finds_of_another_owner_is_not_believed():
    there = there_with(*SPECS)
    there.rewrite = lambda body: {**body, "items": [{**row, "full_name": "beta/x"} for row in body["items"]]}
    with pytest.raises(LookFailed, match="not of acme"):
        await found(there, search="svc")


async def test_a_search_is_read_to_its_end_and_no_further_than_github_shows():
    many = tuple(RepoSpec(f"acme/r{number}") for number in range(1000))
    there = there_with(*many)
    assert len(await found(there, search="r")) == 1000
    assert len(there.calls) == 10
    there = there_with(*many, RepoSpec("acme/r1000"))
    with pytest.raises(Rejected, match="finds 1,001 repositories, and shows only 1,000 of a search; narrow it"):
        await found(there, search="r")


async def test_a_search_that_github_did_not_finish_or_does_not_take_finds_nothing():
    there = there_with(*SPECS)
    answer = Answer(200, {"total_count": 1, "incomplete_results": True, "items": []})
    assert isinstance(await there.outcome(answer, lambda: found(there, search="svc")), LookFailed)
    answer = Answer(422, {"message": "Validation Failed"})
    error = await there.outcome(answer, lambda: found(there, search="a:b:c"))
    assert (type(error), error.code) == (Rejected, "bad_search")


async def test_a_team_that_is_not_there_is_told():
    with pytest.raises(Rejected):
        await found(there_with(*SPECS), team="gone")


async def test_searches_are_counted_apart_by_the_look_alike():
    there = there_with(*SPECS, searches=2)
    await found(there, search="svc")
    learnt = wire.DECLARATION.learn(there.calls[-1], there.last)
    assert [(one.name, one.calls, one.per, one.left) for one in learnt] == [("searches", 2, 60.0, 1)]
    await found(there, search="svc")
    with pytest.raises(Exception, match="hourly limit"):
        await found(there, search="svc")


# -- durations ---------------------------------------------------------------------------------------------------------


async def test_how_long_runs_took_is_told_of_those_that_ended_by_themselves():
    there = bench(build=(9.0, 9.0))
    one, _ = await there.until(await there.follow(), lambda build: build.state.is_final)
    assert await there.provider.durations(one.target, 5) == [10.0]
    query = dict(there.calls[-1].query)
    assert query == {"status": "completed", "per_page": "5", "branch": "main"}
    rows = [
        {"conclusion": "cancelled", "run_started_at": "2026-03-01T10:00:00Z", "updated_at": "2026-03-01T10:00:09Z"},
        {"conclusion": "failure", "run_started_at": "2026-03-01T10:00:00Z", "updated_at": "2026-03-01T10:00:05Z"},
        {"conclusion": "success", "run_started_at": None, "updated_at": "2026-03-01T10:00:05Z"},
    ]
    answer = Answer(200, {"workflow_runs": rows})
    assert await there.outcome(answer, lambda: there.provider.durations(one.target, 5)) == [5.0]


async def test_the_runs_of_an_event_are_told_by_their_event():
    there = bench({"event": "rebuild"})
    await there.provider.durations(there.service.target(), 3)
    assert there.calls[-1].path.endswith("/actions/runs")
    assert dict(there.calls[-1].query)["event"] == "repository_dispatch"


async def test_a_workflow_that_is_not_there_has_no_durations():
    there = bench({"workflow": "gone.yml"})
    with pytest.raises(Rejected):
        await there.provider.durations(there.service.target(), 3)


# -- in a manifest -----------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path, capsys):
    from cli_machine import Program

    return Program(tmp_path, capsys, GH_TOKEN="sandbox-token")


@pytest.mark.parametrize(
    ("type_", "keys", "words"),
    [
        ("travis", "team: platform", "unknown key `team`"),
        ("github", "teem: platform", "did you mean `team`?"),
        ("github", "team: [a, b]", "expected text"),
        ("github", "search: ''", ""),
    ],
)
def test_keys_of_discover_are_checked_for_the_accounts_type(program, type_, keys, words):
    text = f"version: 1\nproviders: {{a: {{type: {type_}}}}}\ntargets: [{{discover: {{owner: acme, {keys}}}}}]\n"
    program.write("orchestrator.yaml", text)
    assert program("check") == (2 if words else 0)
    assert words in program.err


def test_a_key_of_another_accounts_type_is_named(program):
    accounts = "{github: {}, travis: {}}"
    entry = "{account: travis, discover: {owner: acme, topic: go}}"
    program.write("orchestrator.yaml", f"version: 1\nproviders: {accounts}\ntargets: [{entry}]\n")
    assert program("check") == 2
    assert "orchestrator.yaml:3:" in program.err
    assert "unknown key `topic` of `discover` for an account of type travis" in program.err


def test_a_plan_is_made_of_what_a_team_a_topic_and_a_search_find(program):
    import anyio.from_thread

    from orchestrator.lookalike.github.settings import Settings
    from orchestrator.lookalike.kit.server import serve

    teams = {"acme/platform": ("acme/lib-c",)}
    with anyio.from_thread.start_blocking_portal() as portal:
        made = serve(GitHubLookAlike(Settings(repos=SPECS, teams=teams)))
        with portal.wrap_async_context_manager(made) as there:
            lead = f'version: 1\nproviders: {{github: {{url: "{there.url}"}}}}\ndefaults: {{workflow: ci.yml}}\n'
            first = "{discover: {owner: acme, team: platform}}"
            second = '{discover: {owner: acme, search: "svc", exclude: "*-b"}}'
            third = "{discover: {owner: beta, topic: go}}"
            program.write("orchestrator.yaml", f"{lead}targets: [{first}, {second}, {third}]\n")
            assert program("plan", "-o", "json") == 0, program.err
            assert [target["repo"] for target in program.json["targets"]] == ["acme/lib-c", "acme/svc-a", "beta/svc-d"]
            program.write("orchestrator.yaml", f"{lead}targets: [{{discover: {{owner: acme, team: gone}}}}]\n")
            assert program("plan") == 2
            assert "discover acme (team: gone)" in program.err
    program.write("orchestrator.yaml", f"{lead}targets: [{first}]\n")
    assert program("plan", "--sandbox") == 0
    assert program("check") == 0
