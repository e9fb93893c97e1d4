"""Rehearsals: the same manifest against a look-alike in this process that knows its repositories."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from orchestrator import manifest as manifests
from orchestrator.app.context import Context
from orchestrator.app.lookups import merged
from orchestrator.app.plan import Planned
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Target
from orchestrator.manifest import Answers, Manifest, Questions
from orchestrator.providers import registry
from orchestrator.providers.port import RepoFacts

TOKEN = "ORCHESTRATOR_SANDBOX_TOKEN"  # noqa: S105  # a variable's name
INVENTED = 12  # repositories of an owner that the manifest discovers
BRANCHES = ("main", "master", "develop", "release/1.0", "release/2.0")


async def rehearsed(planned: Planned, context: Context, stack: AsyncExitStack) -> tuple[Planned, Context]:
    """The plan with its accounts led to a look-alike, and a context that has its tokens; unless it is a real run.

    Args:
        stack: the look-alike is served until it is closed.

    Raises:
        UsageError: there is no look-alike of one of the providers.
    """
    if not context.sandbox:
        return planned, context
    environ = dict(context.environ)
    accounts: dict[str, Account] = {}
    for number, (name, account) in enumerate(planned.plan.accounts.items()):
        targets = [target for target in planned.plan.targets if target.account == name]
        url, token = await stack.enter_async_context(_served(account, targets, context))
        environ[f"{TOKEN}_{number}"] = token
        accounts[name] = replace(account, url=url, token=f"env:{TOKEN}_{number}", insecure=False)
        for target in targets:
            environ.update(_stand_ins(target, account))
    return replace(planned, plan=replace(planned.plan, accounts=accounts)), context.with_environ(environ)


@asynccontextmanager
async def _served(account: Account, targets: Sequence[Target], context: Context) -> AsyncIterator[tuple[str, str]]:
    from orchestrator.lookalike.kit.server import serve

    look_alike = registry.lookalike_of(account.type)
    if look_alike is None:
        raise UsageError(f"--sandbox: account {account.name}: there is no look-alike of {account.type}")
    async with serve(look_alike.for_plan(targets, [account]), now=context.now) as served:
        yield served.url, served.token


def _stand_ins(target: Target, account: Account) -> dict[str, str]:
    """Secrets that requests refer to are made up, too: a rehearsal needs none of the real ones."""
    found = {}
    for key, declared in registry.declaration(account.type).keys.items():
        reference = target.request.get(key)
        if declared.reference and isinstance(reference, str) and reference.startswith("env:"):
            found[reference.removeprefix("env:")] = "made-up-for-the-sandbox"
    return found


# -- what only a provider knows, made up ------------------------------------------------------------------------


def invented_answers(manifest: Manifest) -> Answers:
    """Answers such as a provider might give: a dozen repositories that fit, a few usual branches."""
    answers = Answers()
    while questions := manifests.questions(manifest, answers):
        answers = merged(answers, _invented(manifest, questions))
    return answers


def _invented(manifest: Manifest, questions: Questions) -> Answers:
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
