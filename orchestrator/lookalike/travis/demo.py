"""A world that fits a manifest: it knows the repos and branches, and allows all that the manifest's limits allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from secrets import token_hex
from typing import Any

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Limit, Target
from orchestrator.lookalike.travis.settings import VCS, RepoSpec, Rule, Settings, Shares, numbered
from orchestrator.lookalike.travis.world import World

SHARES = Shares(failed=0.06, errored=0.02, inactive=0.02, rejected=0.01)
GLOB_FILLERS = ("1.x", "2.x")  # what stands for a * in a branch glob
DISCOVERED = 12  # repositories of an owner that is only to be discovered

# names of the limits, as the provider's declaration has them
TRIGGERS, CALLS, PER_REPO = "triggers", "calls", "triggers_per_repo"


def world_for(
    targets: Iterable[Target],
    accounts: Mapping[str, Account] | None = None,
    *,
    owners: Iterable[str] = (),
    settings: Settings | None = None,
    seed: int = 0,
    **changes: Any,
) -> World:
    """A world for a rehearsal of these targets.

    The repositories fare by the seed and their names, so a rehearsal that is repeated goes the same way. Every world
    has a token and a user of its own: limits that are remembered for one do not slow down the next.

    Args:
        targets: all that the world must know; branch globs are filled in.
        accounts: by name, as a plan has them; whose limits the world must allow. One world for each account is the
            nearest to the truth; given several, it allows their sum.
        owners: owners that are to be discovered, for whom some repositories are made up.
        settings: the pace and the mishaps; a lively demo when None.
        changes: single settings to replace.
    """
    base = demo_settings() if settings is None else settings
    key = token_hex(8)
    limits = [limit for account in (accounts or {}).values() for limit in account.limits]
    fitted = replace(
        base,
        repos=(*repos_of(targets), *_made_up(owners)),
        token=f"sandbox-{key}",
        login=f"sandbox-{key[:6]}",
        user_id=int(key[:7], 16),
        burst=_roomy(base.burst, limits, TRIGGERS),
        minute=_roomy(base.minute, limits, CALLS),
        hourly=_hourly(base, limits),
        seed=seed,
    )
    return World(replace(fitted, **changes))


def demo_settings() -> Settings:
    """Builds of some seconds, a few of which do not pass."""
    return Settings(
        shares=SHARES,
        process=(0.3, 1.5),
        build=(2.0, 8.0),
        jobs=(1, 2),
        concurrency=60,
        latency=(0.01, 0.03),
    )


def repos_of(targets: Iterable[Target]) -> tuple[RepoSpec, ...]:
    """The repositories that the targets name, each with all its branches, in the order of naming."""
    specs: dict[tuple[str, str], RepoSpec] = {}
    for target in targets:
        vcs = str(target.request.get("vcs") or VCS[0])
        spec = specs.get((vcs, target.repo.lower())) or _spec(target.repo, vcs)
        branches = tuple(dict.fromkeys((*spec.branches, *_branches(target.branch))))
        specs[vcs, target.repo.lower()] = replace(spec, branches=branches)
    return tuple(_with_default(spec) for spec in specs.values())


def _spec(repo: str, vcs: str) -> RepoSpec:
    if repo.isdecimal():
        return RepoSpec(f"sandbox/repo-{repo}", id=int(repo), vcs=vcs)
    return RepoSpec(repo if "/" in repo else f"sandbox/{repo}", vcs=vcs)


def _branches(branch: str | None) -> tuple[str, ...]:
    if branch is None:
        return ()
    if "*" not in branch:
        return (branch,)
    return tuple(branch.replace("**", "*").replace("*", filler) for filler in GLOB_FILLERS)


def _with_default(spec: RepoSpec) -> RepoSpec:
    """Master where nothing but master is asked for, as old repositories have it; else main."""
    if "main" not in spec.branches and "master" in spec.branches:
        return replace(spec, default_branch="master")
    return spec


def _made_up(owners: Iterable[str]) -> tuple[RepoSpec, ...]:
    return tuple(spec for owner in owners for spec in numbered(DISCOVERED, (owner,)))


def _roomy(rule: Rule | None, limits: Sequence[Limit], name: str) -> Rule | None:
    """The rule, or one that the accounts' own limits cannot reach, whatever the position of its windows."""
    return None if rule is None else replace(rule, calls=max(rule.calls, _most(limits, name, rule.per) + 1))


def _hourly(base: Settings, limits: Sequence[Limit]) -> int:
    return max(base.hourly, _most(limits, PER_REPO, base.hour))


def _most(limits: Sequence[Limit], name: str, per: float) -> int:
    """The most calls that sliding limits of that name let through in a span of time."""
    return sum(ceil(per / limit.per) * limit.calls for limit in limits if limit.name == name)
