"""What a world is like, as frozen values. Durations are seconds, shares are 0 to 1, ranges are (least, most)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from orchestrator.core.frozen import Struct, field, replace

Range: TypeAlias = tuple[float, float]

VCS = ("github", "gitlab", "bitbucket", "assembla")


class RepoSpec(Struct, frozen=True):
    """One repository. What is None is drawn from the world's settings.

    Args:
        id: the number by which the API knows it; None: the next free one.
        active: whether builds are switched on.
        known: False: the API answers as if there were no such repository.
        may_trigger: whether the token's user may create builds.
        hourly: its own `api_builds_rate_limit`.
        rejects: the text with which every request of it is rejected after the 202.
    """

    slug: str
    id: int | None = None
    branches: tuple[str, ...] = ()
    default_branch: str | None = None
    vcs: str = "github"
    private: bool = False
    active: bool | None = None
    known: bool | None = None
    may_trigger: bool | None = None
    hourly: int | None = None
    rejects: str | None = None


class Rule(Struct, frozen=True):
    """So many calls in a window that is aligned to the epoch; `ban` seconds of exclusion when it is reached."""

    calls: int
    per: float
    ban: float = 0.0


class Shares(Struct, frozen=True):
    """How often things go wrong by themselves.

    Of repositories: inactive, forbidden (visible, but no `create_request`), unknown.
    Of requests: rejected (with a text and a commit), rejected_blind (with a text, never with a commit),
    never_processed (pending for ever), no_result (builds, but `result` stays null), config_error (a build that is
    errored from birth).
    Of builds: failed, errored, canceled.
    Of jobs, except the first: allow_failure.
    """

    inactive: float = 0.0
    forbidden: float = 0.0
    unknown: float = 0.0
    rejected: float = 0.0
    rejected_blind: float = 0.0
    never_processed: float = 0.0
    no_result: float = 0.0
    config_error: float = 0.0
    failed: float = 0.0
    errored: float = 0.0
    canceled: float = 0.0
    allow_failure: float = 0.0


class FaultRule(Struct, frozen=True):
    """One thing that goes wrong on purpose. All conditions must hold.

    Args:
        kind: a key of `faults.KINDS`.
        share: of the calls that fit, drawn from the seed and the number of the call; None: all of them.
        nth: numbers of calls among those that fit this rule, counted from 1; empty: any.
        repo: only calls that name this repository, by slug or number, or builds of it.
        methods: `POST` by default; empty: all.
        between: seconds since the world began.
        seconds: how late or slow, where the kind has a duration.
    """

    kind: str
    share: float | None = None
    nth: tuple[int, ...] = ()
    repo: str | None = None
    methods: tuple[str, ...] = ("POST",)
    between: Range | None = None
    seconds: float | None = None


class Settings(Struct, frozen=True):
    """A world: who is there, how fast it lives, which rules it enforces and what goes wrong.

    Args:
        repos: the repositories; build some with `numbered`.
        branches: of each repository that names none.
        token, login, user_id: the user that may do everything; `others` maps further tokens to logins.
        process: from the 202 until the request is decided.
        build: how long a job runs.
        jobs: of a build.
        concurrency: jobs of one owner that run at the same time.
        change: from the 202 of a cancel or restart until it shows.
        hourly: requests of a repository in a sliding hour.
        hour: how long that hour is.
        burst: POSTs of a principal; None: off, as on Enterprise.
        minute: calls of a principal; None: off.
        latency: of a call, there and back.
        lag: how long a new row stays out of listings.
        reorder: whether neighbours change places in listings of requests.
        skew: how far the server's clock is ahead.
        prefix: of every path, as `/api` on Enterprise.
        auto_cancel: whether a newer build of a branch cancels those that have not started.
        strict_branches: whether a request for a branch that the repository lacks stays without commit and result.
        time_scale: divides every duration of the world but those of the network (latency, lag, faults, skew).
        patience: after how many seconds a client in memory gives up a call.
        pretty: whether bodies are indented, as the real ones are.
    """

    repos: tuple[RepoSpec, ...] = ()
    branches: tuple[str, ...] = ("main",)
    default_branch: str = "main"
    token: str = "sandbox-token"  # noqa: S105 - opens nothing but this world
    login: str = "sandbox"
    user_id: int = 77
    others: Mapping[str, str] = field(default_factory=dict)
    shares: Shares = Shares()
    process: Range = (1.0, 3.0)
    build: Range = (30.0, 300.0)
    jobs: tuple[int, int] = (1, 1)
    concurrency: int = 20
    change: Range = (0.5, 1.0)
    hourly: int = 10
    hour: float = 3600.0
    burst: Rule | None = Rule(50, 30.0, 3600.0)
    minute: Rule | None = Rule(2000, 60.0)
    latency: Range = (0.0, 0.0)
    lag: Range = (0.0, 0.0)
    reorder: bool = False
    skew: float = 0.0
    prefix: str = ""
    auto_cancel: bool = False
    strict_branches: bool = True
    faults: tuple[FaultRule, ...] = ()
    time_scale: float = 1.0
    patience: float = 30.0
    pretty: bool = False
    seed: int = 0

    def scaled(self) -> Settings:
        """The same world with its durations divided by the time scale, which then is 1."""
        by = self.time_scale
        if by == 1.0:
            return self
        return replace(
            self,
            process=_shorter(self.process, by),
            build=_shorter(self.build, by),
            change=_shorter(self.change, by),
            hour=self.hour / by,
            burst=_faster(self.burst, by),
            minute=_faster(self.minute, by),
            time_scale=1.0,
        )


def numbered(count: int, owners: tuple[str, ...] = ("acme",)) -> tuple[RepoSpec, ...]:
    """That many repositories, `acme/svc-001` and so on, spread over the owners."""
    width = max(3, len(str(count)))
    return tuple(RepoSpec(f"{owners[n % len(owners)]}/svc-{n + 1:0{width}d}") for n in range(count))


def _shorter(span: Range, by: float) -> Range:
    return (span[0] / by, span[1] / by)


def _faster(rule: Rule | None, by: float) -> Rule | None:
    return None if rule is None else Rule(rule.calls, rule.per / by, rule.ban / by)
