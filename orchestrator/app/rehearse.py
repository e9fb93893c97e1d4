"""`--sandbox`: the same manifest against a look-alike in this process that knows its repositories."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from orchestrator import manifest as manifests
from orchestrator.app.load_plan import Source, plan_of, read_manifest, selected
from orchestrator.app.lookups import merged
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import Flags
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Plan, Target
from orchestrator.manifest import Answers, Manifest, Questions
from orchestrator.providers import registry
from orchestrator.providers.port import RepoFacts

TOKEN = "ORCHESTRATOR_SANDBOX_TOKEN"  # noqa: S105  # a variable's name
INVENTED = 12  # repositories of an owner that the manifest discovers
BRANCHES = ("main", "master", "develop", "release/1.0", "release/2.0")


@asynccontextmanager
async def rehearsed(
    source: Source, flags: Flags, machine: Machine, run: str
) -> AsyncIterator[tuple[Plan, Manifest | None, Mapping[str, str]]]:
    """The plan with its accounts led to a look-alike, the manifest, and the variables that hold its tokens.

    What the manifest asks of a provider (`discover`, branch globs) is answered by invention.
    """
    plan, manifest = await invented_plan(source, flags, machine, run)
    environ = dict(machine.environ)
    async with AsyncExitStack() as stack:
        accounts: dict[str, Account] = {}
        for number, (name, account) in enumerate(plan.accounts.items()):
            targets = [target for target in plan.targets if target.account == name]
            url, token = await stack.enter_async_context(_served(account, targets, machine))
            environ[f"{TOKEN}_{number}"] = token
            accounts[name] = replace(account, url=url, token=f"env:{TOKEN}_{number}", insecure=False)
            for target in targets:
                environ.update(_stand_ins(target, account))
        yield replace(plan, accounts=accounts), manifest, environ


async def invented_plan(source: Source, flags: Flags, machine: Machine, run: str) -> tuple[Plan, Manifest | None]:
    """The plan, with answers made up to what only a provider knows; its accounts are still the real ones."""
    if source.is_ad_hoc:
        return await plan_of(source, flags, machine, run, None)
    manifest = read_manifest(source, flags, machine, run)
    answers = Answers()
    while questions := manifests.questions(manifest, answers):
        answers = merged(answers, invented(manifest, questions))
    today = datetime.fromtimestamp(machine.now(), UTC).date()
    return selected(manifests.expand(manifest, answers, today=today), manifest, flags), manifest


def invented(manifest: Manifest, questions: Questions) -> Answers:
    """Answers such as a provider might give: a dozen repositories that fit, a few usual branches."""
    return Answers(
        owners={(account, owner): _repos_of(manifest, owner) for account, owner in questions.owners},
        branches=dict.fromkeys(questions.branches, BRANCHES),
        numbers={(account, number): f"sandbox/repo-{number}" for account, number in questions.numbers},
    )


def _repos_of(manifest: Manifest, owner: str) -> list[RepoFacts]:
    patterns = [pattern for pattern in _patterns(manifest, owner) if isinstance(pattern, str)] or ["svc-*"]
    names = [
        pattern.replace("**", "*").replace("*", f"{n:03}").replace("?", "x")
        for pattern in patterns
        for n in range(1, INVENTED + 1)
    ]
    slugs = dict.fromkeys(name if "/" in name else f"{owner}/{name}" for name in names)
    return [RepoFacts(str(1000 + n), slug, active=True, default_branch="main") for n, slug in enumerate(slugs)]


def _patterns(manifest: Manifest, owner: str) -> list[Any]:
    """What `match` says wherever this owner is discovered."""
    found: list[Any] = []
    for entry in manifest.raw.get("targets") or ():
        discover = entry.get("discover") if isinstance(entry, Mapping) else None
        if isinstance(discover, Mapping) and discover.get("owner") == owner:
            match = discover.get("match")
            found += match if isinstance(match, list) else [match]
    return found


@asynccontextmanager
async def _served(account: Account, targets: Sequence[Target], machine: Machine) -> AsyncIterator[tuple[str, str]]:
    from orchestrator.lookalike.kit.server import serve

    look_alike = registry.lookalike_of(account.type)
    if look_alike is None:
        raise UsageError(f"--sandbox: account {account.name}: there is no look-alike of {account.type}")
    async with serve(look_alike.for_plan(targets, [account]), now=machine.now) as served:
        yield served.url, served.token


def _stand_ins(target: Target, account: Account) -> dict[str, str]:
    """Secrets that requests refer to are made up, too: a rehearsal needs none of the real ones."""
    found = {}
    for key, declared in registry.declaration(account.type).keys.items():
        reference = target.request.get(key)
        if declared.reference and isinstance(reference, str) and reference.startswith("env:"):
            found[reference.removeprefix("env:")] = "made-up-for-the-sandbox"
    return found
