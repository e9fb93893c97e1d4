"""One run over several services behind real sockets: what one account refuses, the others do all the same."""

from contextlib import ExitStack, contextmanager

import anyio
import pytest
from cli_machine import Program

from orchestrator.core.errors import Exit
from orchestrator.lookalike.kit.server import serve
from orchestrator.providers import registry

TYPES = ("github", "gitlab", "buildkite", "travis", "buildbot", "jenkins")
KEYS = {"github": "workflow: ci.yml", "gitea": "workflow: ci.yml", "buildbot": "scheduler: force"}
SLOW = {"build": ["10m", "20m"]}
MORE = {"jenkins": ", user: sandbox"}


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


@contextmanager
def served(program, *types, **settings):
    """The look-alikes, by type, and a manifest over all of them; the token of each is in a variable of its name."""
    worlds, lines, entries = {}, [], []
    with ExitStack() as stack:
        portal = stack.enter_context(anyio.from_thread.start_blocking_portal())
        for type_ in types:
            repos = [f"acme/{type_}-{n}" for n in range(2)]
            kind = registry.lookalike_of(type_)
            given = {"repos": repos, **SLOW, **settings}
            worlds[type_] = world = kind.from_settings(given)
            at = stack.enter_context(portal.wrap_async_context_manager(serve(world)))
            program.environ[f"T_{type_.upper()}"] = at.token
            token = "" if type_ == "buildbot" else f", token: 'env:T_{type_.upper()}'"
            lines.append(f"  {type_}: {{type: {type_}, url: '{at.url}'{token}{MORE.get(type_, '')}}}\n")
            key = f", {KEYS[type_]}" if type_ in KEYS else ""
            entries.append(f"  - {{repos: [{', '.join(repos)}], account: {type_}, branches: [main]{key}}}\n")
        text = f"version: 1\nname: mixed\nproviders:\n{''.join(lines)}targets:\n{''.join(entries)}"
        program.write("orchestrator.yaml", text)
        yield worlds


def canceled(worlds):
    """By type, how many of the builds that were asked for the service has canceled."""
    ended = {
        type_: [str(row.builds[0].state if type_ == "travis" else row.outcome) for row in world.counters.accepted]
        for type_, world in worlds.items()
    }
    return {type_: sum("cancel" in word or word == "ABORTED" for word in words) for type_, words in ended.items()}


@pytest.mark.slow  # over sockets, in real time
@pytest.mark.usefixtures("quick_polls")
def test_cancel_goes_on_with_the_other_accounts_where_one_is_refused(program):
    with served(program, *TYPES) as worlds:
        assert program("run", "--yes", "--detach", "--run-id", "r1", "-q") == Exit.OK, program.err
        assert all(len(world.counters.accepted) == 2 for world in worlds.values())
        good = program.environ["T_BUILDKITE"]
        program.environ["T_BUILDKITE"] = "no-more-the-token"
        assert program("cancel", "r1", "--yes", "-o", "json") == Exit.ACCOUNT, program.err
        told = {row["id"]: row["outcome"] for row in program.json["targets"]}
        refused = {id_ for id_ in told if id_.startswith("buildkite:")}
        assert len(refused) == 2
        assert {told[id_] for id_ in told.keys() - refused} == {"canceled"}
        assert {told[id_] for id_ in refused} == {None}
        assert "2 builds not canceled yet: account buildkite is blocked" in program.err
        assert canceled(worlds) == dict.fromkeys(TYPES, 2) | {"buildkite": 0}

        program.environ["T_BUILDKITE"] = good
        assert program("cancel", "r1", "--yes", "-q") == Exit.OK, program.err
        assert canceled(worlds) == dict.fromkeys(TYPES, 2)
        assert all(len(world.counters.accepted) == 2 for world in worlds.values())
