"""What a Travis CI is like, as frozen values: those of a settings file, and those that fit a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import ceil
from secrets import token_hex
from typing import Annotated, Any

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Limit, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit import CommonSettings
from orchestrator.lookalike.kit.settings import (
    Count,
    Duration,
    Range,
    Reader,
    Rule,
    Share,
    Slug,
    convert,
    read,
    scaled,
    unlike,
    words,
)

VCS = ("github", "gitlab", "bitbucket", "assembla")

# names of the limits, as the provider's declaration has them
TRIGGERS, CALLS, PER_REPO = "triggers", "calls", "triggers_per_repo"


class RepoSpec(Struct, frozen=True):
    """One repository. What is None is drawn, or is as for all (docs/sandbox.md)."""

    slug: Slug
    id: Count | None = None
    branches: tuple[str, ...] = ()
    default_branch: str | None = None
    vcs: Annotated[str, words(VCS)] = VCS[0]
    private: bool = False
    active: bool | None = None
    known: bool | None = None
    may_trigger: bool | None = None
    hourly: Count | None = None
    rejects: str | None = None


class Shares(Struct, frozen=True):
    """How often things go wrong by themselves, 0 to 1 (docs/sandbox.md)."""

    inactive: Share = 0.0
    forbidden: Share = 0.0
    unknown: Share = 0.0
    rejected: Share = 0.0
    rejected_blind: Share = 0.0
    never_processed: Share = 0.0
    no_result: Share = 0.0
    config_error: Share = 0.0
    failed: Share = 0.0
    errored: Share = 0.0
    canceled: Share = 0.0
    allow_failure: Share = 0.0


MOST_REPOS = 100_000  # that a number makes


def _job_counts(given: Any) -> tuple[int, int]:
    both = given if isinstance(given, list) else [given, given]
    if len(both) != 2 or any(type(each) is not int for each in both) or not 1 <= both[0] <= both[1] <= 200:
        raise ValueError
    return (both[0], both[1])


class Settings(CommonSettings, frozen=True, kw_only=True):
    """A Travis CI: who is there, how fast it lives, which rules it enforces (docs/sandbox.md has each key)."""

    repos: tuple[RepoSpec, ...] = ()
    branches: tuple[str, ...] = ("main",)
    default_branch: str = "main"
    user_id: Count = 77
    shares: Shares = Shares()
    process: Range = (1.0, 3.0)
    build: Range = (30.0, 300.0)
    jobs: Annotated[tuple[int, int], Reader("a number of jobs from 1 to 200, or [least, most]", _job_counts)] = (1, 1)
    concurrency: Count = 20
    change: Range = (0.5, 1.0)
    hourly: Count = 10
    hour: Duration = 3600.0
    burst: Rule | None = Rule(50, 30.0, 3600.0)
    minute: Rule | None = Rule(2000, 60.0)
    reorder: bool = False
    auto_cancel: bool = False
    strict_branches: bool = True

    def scaled(self) -> Settings:
        """The same with all durations divided by the time scale."""
        return scaled(self, self.time_scale, "process", "build", "change", "hour", "burst", "minute")


def parse(given: Mapping[str, Any]) -> Settings:
    """Settings from a map; see `convert`. What is left out has its default, and there are a hundred repositories."""
    rest = {name: value for name, value in given.items() if name not in ("repos", "owner", "owners")}
    owners = read(tuple[str, ...], given.get("owners", given.get("owner", "acme")), "owners")
    repos = given.get("repos", 100)
    if isinstance(repos, int):
        if (count := read(Count, repos, "repos")) > MOST_REPOS:
            raise UsageError(f"sandbox: repos: expected at most {MOST_REPOS:,}, found {count:,}")
        return replace(convert(Settings, rest), repos=numbered(count, owners))
    if isinstance(repos, list):
        repos = [{"slug": each} if isinstance(each, str) else each for each in repos]
    found = convert(Settings, {"repos": repos, **rest})
    unlike(found.repos, lambda spec: (spec.vcs, spec.slug.lower()))
    return found


def numbered(count: int, owners: tuple[str, ...] = ("acme",)) -> tuple[RepoSpec, ...]:
    """That many repositories, `acme/svc-001` and so on, spread over the owners."""
    width = max(3, len(str(count)))
    return tuple(RepoSpec(f"{owners[n % len(owners)]}/svc-{n + 1:0{width}d}") for n in range(count))


def demo() -> Settings:
    """Builds of some seconds, a few of which do not pass."""
    return Settings(
        shares=Shares(failed=0.06, errored=0.02, inactive=0.02, rejected=0.01),
        process=(0.3, 1.5),
        build=(2.0, 8.0),
        jobs=(1, 2),
        concurrency=60,
        latency=(0.01, 0.03),
    )


def fitted(
    base: Settings,
    targets: Iterable[Target],
    accounts: Collection[Account] = (),
    rehearsal: Rehearsal = NOTHING_SAID,
) -> Settings:
    """The settings, with all that the targets name, a user of its own, and room for the sum of the accounts' limits.

    Where a rehearsal says what goes wrong, nothing goes wrong by itself.
    """
    key = token_hex(8)
    limits = [limit for account in accounts for limit in account.limits]
    return replace(
        base,
        repos=repos_of(targets),
        token=f"sandbox-{key}",
        login=f"sandbox-{key[:6]}",
        user_id=int(key[:7], 16),
        burst=_roomy(base.burst, limits, TRIGGERS),
        minute=_roomy(base.minute, limits, CALLS),
        hourly=max(base.hourly, _most(limits, PER_REPO, base.hour)),
        rehearsal=rehearsal,
        shares=Shares() if rehearsal else base.shares,
    )


def repos_of(targets: Iterable[Target]) -> tuple[RepoSpec, ...]:
    """The repositories that the targets name, each with all its branches, in the order of naming.

    The default is master where nothing but master is asked for, as old repositories have it; else main.
    """
    specs: dict[tuple[str, str], RepoSpec] = {}
    branches: dict[tuple[str, str], dict[str, None]] = {}
    for target in targets:
        vcs, repo = str(target.request.get("vcs") or VCS[0]), target.repo
        key, number = (vcs, repo.lower()), int(repo) if repo.isdecimal() else None
        slug = repo if "/" in repo else f"sandbox/{repo if number is None else f'repo-{repo}'}"
        specs.setdefault(key, RepoSpec(slug, number, vcs=vcs))
        branches.setdefault(key, {}).update({} if target.branch is None else {target.branch: None})
    old = {key for key, named in branches.items() if "master" in named and "main" not in named}
    return tuple(
        replace(spec, branches=tuple(branches[key]), default_branch="master" if key in old else None)
        for key, spec in specs.items()
    )


def _roomy(rule: Rule | None, limits: Sequence[Limit], name: str) -> Rule | None:
    """The rule, or one that the accounts' own limits cannot reach, whatever the position of its windows."""
    return None if rule is None else replace(rule, calls=max(rule.calls, _most(limits, name, rule.per) + 1))


def _most(limits: Sequence[Limit], name: str, per: float) -> int:
    """The most calls that sliding limits of that name let through in a span of time."""
    return sum(ceil(per / limit.per) * limit.calls for limit in limits if limit.name == name)
