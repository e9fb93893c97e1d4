"""The nouns, as frozen values: account, target, trigger, request, build, outcome, limit.

Times are seconds since the Unix epoch, UTC, as floats; durations are seconds. One word per thing, everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any, TypeAlias

from orchestrator.core.concurrency import UNLIMITED, Concurrency
from orchestrator.core.frozen import Struct, field
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.core.times import period
from orchestrator.core.waves import NO_RERUNS, SKIP, Reruns, Rollout, Wave

# Not recursive: the hints of events are evaluated at run time, where a forward reference would not resolve.
Json: TypeAlias = bool | int | float | str | Sequence[Any] | Mapping[str, Any] | None

COORDINATOR = ""  # the stream of facts that concern the whole run, in place of an account's name


class Scope(str):
    """What a limit, a freeze or a refusal holds for: the account, everything of one owner, or one repository.

    A text, since it is a key in JSON and in the database: `account`, `owner:acme`, `repo:acme/x`.
    """

    __slots__ = ("kind", "name")
    kind: str
    name: str

    def __new__(cls, kind: str, name: str = "") -> Scope:
        """A scope of the kind `account` (which needs no name), `owner` or `repo`."""
        made = super().__new__(cls, f"{kind}:{name}" if name else kind)
        made.kind, made.name = kind, name
        return made

    @classmethod
    def of(cls, text: str) -> Scope:
        """The scope that was written so."""
        kind, _, name = text.partition(":")
        return cls(kind, name)

    @classmethod
    def around(cls, repo: str, kind: str) -> Scope:
        """The scope of this kind in which a repository lies."""
        if kind == ACCOUNT:
            return ACCOUNT
        return cls(kind, repo if kind == "repo" else repo.partition("/")[0])


ACCOUNT = Scope("account")


def scopes_around(repo: str) -> tuple[Scope, ...]:
    """Every scope in which a repository lies."""
    return ACCOUNT, Scope.around(repo, "owner"), Scope("repo", repo)


class Outcome(StrEnum):
    """Our verdict on a target."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    CANCELED = "canceled"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    IN_DOUBT = "in_doubt"
    SKIPPED = "skipped"

    @property
    def is_provisional(self) -> bool:
        """Whether later evidence may replace it."""
        return self in (Outcome.TIMED_OUT, Outcome.IN_DOUBT)


class Phase(StrEnum):
    """How far a target has come."""

    WAITING = "waiting"
    REQUESTED = "requested"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


class BuildState(StrEnum):
    """What a provider's native state means to us."""

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    CANCELED = "canceled"
    SUPERSEDED = "superseded"
    SKIPPED = "skipped"  # it is there, and ran nothing
    ACCEPTED = "accepted"  # taken by a service of which nothing more is asked

    @property
    def is_final(self) -> bool:
        """Whether the build has ended."""
        return self not in (BuildState.QUEUED, BuildState.RUNNING)


class Findability(StrEnum):
    """How well a provider can find the request of a lost answer again."""

    EXACT = "exact"
    BY_MARKER = "by_marker"
    HEURISTIC = "heuristic"
    NEVER = "never"

    @property
    def can_tell(self) -> bool:
        """Whether `find` can ever tell that a request is the one of a lost trigger."""
        return self in (Findability.EXACT, Findability.BY_MARKER)

    @property
    def can_look(self) -> bool:
        """Whether `find` can settle anything of a lost trigger, be it only that there is no request."""
        return self is not Findability.NEVER


class Limit(Struct, frozen=True, omit_defaults=True, gc=False):
    """So many calls of a kind per period per scope; `40/30s` in writing.

    Args:
        name: the key under `limits:` (`triggers`, `calls`, `triggers_per_repo`); of several rules of one kind the
            second is `triggers.2`.
        calls: how many.
        per: the period in seconds.
        scope: what it is counted for: `account`, `owner` or `repo`.
        written: whether a person wrote it (then answers of the provider can only tighten it).
        share: percent of the provider's limit that these calls are; the rest is left to other machines.
    """

    name: str
    calls: int
    per: float
    scope: str = ACCOUNT
    written: bool = False
    share: int = 100

    def __str__(self) -> str:
        return f"{self.kind} {self.calls}/{period(self.per)}"

    @property
    def told(self) -> str:
        """In writing, for people: with what it is counted for, where that is each owner."""
        return f"{self} of each owner" if self.scope == "owner" else str(self)

    @property
    def kind(self) -> str:
        """The key under `limits:`: what a call counts against, whatever the number of its rules."""
        return self.name.partition(".")[0]


class Learnt(Struct, frozen=True, omit_defaults=True, gc=False):
    """A limit that an answer of the provider reveals.

    Args:
        name: which limit (`triggers_per_repo`, ...).
        scope: where it holds.
        calls: the limit, or None where the answer gives only what is left.
        per: its period in seconds, or None.
        left: calls that are left now, or None.
        reset: seconds from now until calls are free again, or None.
    """

    name: str
    scope: Scope
    calls: int | None = None
    per: float | None = None
    left: int | None = None
    reset: float | None = None


class Timeouts(Struct, frozen=True, omit_defaults=True, gc=False):
    """How long things may take, in seconds; see the manifest's `timeouts:`.

    Args:
        settle: how long after a lost call a lookup may say "certainly not there".
        accept: from sending a trigger for the first time to the appearance of its build.
        queue: from the build's appearance to its start.
        build: from the build's start to its end.
        reach: how long an account may be unreachable before it stops.
    """

    settle: float = 60.0
    accept: float = 3600.0
    queue: float = 86400.0
    build: float = 21600.0
    reach: float = 600.0


class Cost(Struct, frozen=True, omit_defaults=True, gc=False):
    """An amount of money.

    Args:
        currency: as people write it, `USD`.
    """

    amount: float
    currency: str


class Account(Struct, frozen=True, omit_defaults=True, gc=False, rename={"concurrency": "brake"}):
    """One configured use of a provider; a key under `providers:`. It holds references to secrets, never a secret."""

    name: str
    type: str
    url: str
    token: str | None = None  # env:NAME | file:PATH | command:ARGV; None: the type's default
    limits: tuple[Limit, ...] = ()
    connections: int = 16
    in_flight: int | None = None
    triggers_at_once: int | None = None  # triggers without an answer; None: as many as there are connections
    insecure: bool = False
    settings: Mapping[str, Json] = field(default_factory=dict)  # whatever else the provider's declaration allows here
    concurrency: Concurrency = UNLIMITED  # what holds triggers back for the sake of the CI and of other people
    cost_per_minute: Cost | None = None  # of a minute that a build runs


class Target(Struct, frozen=True, omit_defaults=True, gc=False):
    """One build that we want: a ref of a repository, through an account.

    Args:
        id: `ACCOUNT:REPO[@REF][[k=v,...]][#NAME]`, percent-encoded where needed.
        repo: `owner/name`, or the provider's number in digits.
        branch: any ref that the provider accepts; None leaves the choice to the provider.
        needs: ids of the targets that must pass first (all of them selected).
        needs_not_passed: what becomes of it when one of them does not: `skip`, `run`, or `stop` the run.
        reruns: how often its build is started again when it fails.
        skip: the reason not to trigger it, else None.
        marked: whether a marker travels with its trigger (`marker: none` says no).
        seconds: how long its build takes, as earlier runs showed; 0 where that is not known.
        request: what the trigger says, by manifest key (`message`, `env`, `config`, `sha`, ...), templates filled in.
        where: `file:line:column` of the entry that made it.
    """

    id: str
    account: str
    repo: str
    branch: str | None = None
    matrix: tuple[tuple[str, str], ...] = ()
    name: str | None = None
    labels: tuple[str, ...] = ()
    wave: int = 1
    needs: tuple[str, ...] = ()
    needs_not_passed: str = SKIP
    reruns: Reruns = NO_RERUNS
    skip: str | None = None
    marked: bool = True
    timeouts: Timeouts = Timeouts()
    seconds: float = 0.0
    request: Mapping[str, Json] = field(default_factory=dict)
    where: str = ""

    def __eq__(self, other: object) -> bool:
        """Whether they are the same build, whatever is sent for it and wherever it was written down."""
        return other.__class__ is Target and _IDENTITY(self) == _IDENTITY(other)

    def __hash__(self) -> int:
        return hash(_IDENTITY(self))

    @property
    def owner(self) -> str:
        """The part of the repository's name before the first slash; the whole name where there is none."""
        return self.repo.partition("/")[0]


_IDENTITY = attrgetter(*(name for name in Target.__struct_fields__ if name not in ("seconds", "request", "where")))


class Trigger(Struct, frozen=True, omit_defaults=True, gc=False):
    """The wish for one build, ready to be expressed to a provider.

    Args:
        marker: `[RUNID.xxxxxxxx]`, or None where the user wants their bytes alone.
        run_name: stands in for a missing message before the marker.
        prepared: what the provider's `prepare` looked up for this repo.
        is_shown: whether the account is known to show markers; else a row of the time may be ours without one.
    """

    target: Target
    attempt: int
    marker: str | None
    run_name: str
    prepared: Json = None
    is_shown: bool = True

    @property
    def message(self) -> str | None:
        """The message that travels: the user's, then the marker; None when there is neither."""
        said = self.target.request.get("message")
        text = said if isinstance(said, str) else None
        if self.marker is None:
            return text
        return f"{self.run_name if text is None else text} {self.marker}"


class Request(Struct, frozen=True, omit_defaults=True, gc=False):
    """The provider's receipt for a trigger.

    Args:
        id: the provider's id, as text.
        handle: the provider's own JSON with a version; opaque to everybody else.
        url: a page for people, where the provider has one.
    """

    id: str
    handle: Mapping[str, Json] = field(default_factory=dict)
    url: str | None = None


class Build(Struct, frozen=True, omit_defaults=True, gc=False):
    """What the provider runs for a request, as last seen; its times by the provider's clock, in the journal by ours.

    Args:
        native: the provider's own word for the state.
        reason: why it waits or ended, when the provider says so.
        replaces: the id under which it was seen before (a place in a queue that became a build).
    """

    id: str
    state: BuildState
    native: str
    number: str | None = None
    url: str | None = None
    sha: str | None = None
    branch: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    reason: str | None = None
    replaces: str | None = None


def unseen(build: str) -> Build:
    """A build of which only the id is known, and that it had ended without passing."""
    return Build(build, BuildState.FAILED, "failed")


class Refusal(Struct, frozen=True, omit_defaults=True, gc=False):
    """The provider took the trigger and then refused the request.

    Args:
        code: a stable word for reports (`skipped_by_message`, `no_jobs`, `no_credit`, ...).
        scope: None for this target alone; an owner's freezes that owner, the account's stops the account.
    """

    code: str
    reason: str
    scope: Scope | None = None


class Interval(Struct, frozen=True, omit_defaults=True, gc=False):
    """A span of time, both ends included."""

    start: float
    end: float


class Expect(Struct, frozen=True):
    """How many targets there should be."""

    min: int | None = None
    max: int | None = None


LONGEST_LOG = 4 * 2**20  # bytes; no more of a log is ever read


class Causes(Struct, frozen=True, omit_defaults=True):
    """Which logs of failed builds are read, to name the cause.

    Args:
        logs: how many a run reads at most.
        bytes: how much of the end of each is kept.
    """

    logs: int = 50
    bytes: int = 64 * 1024


END, STOP, FIRST_FAILURE, CHANGED, WAITING = NOTIFY_ON = ("end", "stop", "first_failure", "changed", "waiting")


class Notify(Struct, frozen=True, omit_defaults=True, gc=False):
    """Who is told what of a run.

    Args:
        to: a reference to where: a webhook's URL, or the URL of a chat or a mail as the library `apprise` knows them.
        on: what is worth a message, of `NOTIFY_ON`.
        key: a reference to what a webhook's messages are signed with; None: its URL, which only both sides know.
    """

    to: str
    on: tuple[str, ...] = (END, WAITING)
    key: str | None = None


class Plan(Struct, frozen=True, omit_defaults=True, gc=False):
    """Targets in the order of triggering, after expansion and selection, with all that a run needs to know.

    Args:
        manifest: the path as given, `-` for stdin, or None when there is none.
        digest: SHA-256 of the manifest's text, hex.
        fail_on: outcomes that make the exit code 1.
        reports: format to file path, from `reports:`.
        warnings: sentences for a person.
        rollout: how the run spreads, as it is written; None where nothing is.
        waves: what came of it; empty before the targets are selected.
        causes: which logs are read; None: none.
        rehearsal: what look-alikes are told.
        notify: who is told what of the run.
    """

    name: str
    targets: tuple[Target, ...]
    accounts: Mapping[str, Account]
    manifest: str | None = None
    digest: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    fail_on: frozenset[Outcome] = frozenset()
    reports: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    rollout: Rollout | None = None
    waves: tuple[Wave, ...] = ()
    causes: Causes | None = None
    rehearsal: Rehearsal = NOTHING_SAID
    notify: tuple[Notify, ...] = ()


DEFAULT_FAIL_ON = frozenset(
    {Outcome.FAILED, Outcome.ERRORED, Outcome.CANCELED, Outcome.SUPERSEDED, Outcome.REJECTED, Outcome.TIMED_OUT}
)


def marker_of(manifest: str, run: str, target: str) -> str:
    """The marker of a target in a run: a pure function, the same for every attempt.

    Args:
        manifest: the manifest's name.
        run: the run's id.
        target: the target's id.
    """
    digest = hashlib.sha256(f"{manifest}\n{run}\n{target}".encode()).digest()
    bits = int.from_bytes(digest[:5], "big")  # 5 bytes are 8 characters
    return f"[{run}.{_PAIRS[bits >> 30]}{_PAIRS[bits >> 20 & 1023]}{_PAIRS[bits >> 10 & 1023]}{_PAIRS[bits & 1023]}]"


# base64.b32encode is written in Python, and a marker is needed for each trigger
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = tuple(f"{one}{two}" for one in _BASE32 for two in _BASE32)
