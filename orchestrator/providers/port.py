"""The provider port: what a CI service must be able to do, and what it declares about itself.

A provider turns values into `Call`s and `Answer`s into values. It is given the function that sends a `Call`
(`Send`), so it runs against aiohttp, against a look-alike in memory, and against faults, without knowing which.
The limits of the account are kept inside `Send`: a provider never waits and never counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.concurrency import Entry
from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import (
    Account,
    Build,
    BuildState,
    Findability,
    Interval,
    Json,
    Learnt,
    Limit,
    Refusal,
    Request,
    Scope,
    Target,
    Trigger,
)
from orchestrator.core.secrets import Secret

LONGEST_REPO = 600  # characters of a repository's name that are believed


class Followed(Struct, frozen=True):
    """A request that is being followed, as `poll` gets it.

    Args:
        build: as last seen, None while there is none.
        since: when the request was made (wall clock), and `age`, the seconds since then.
        polls: how many in a row have shown nothing new since it last changed.
        fresh: a timeout is about to decide: read this one itself, not only a listing.
    """

    target: Target
    request: Request
    marker: str | None
    build: Build | None
    since: float
    polls: int = 0
    fresh: bool = False
    age: float = 0.0


class Observation(Struct, frozen=True):
    """What one poll shows of one request; all empty means "still nothing".

    Args:
        builds: the builds of the request, the deciding one first.
        marked: whether the request was seen to carry its marker; None where this poll cannot tell.
        request: the handle in its new form, where it changed.
        warning: an odd thing that a person should know (a state that is not known here).
    """

    builds: tuple[Build, ...] = ()
    refusal: Refusal | None = None
    marked: bool | None = None
    request: Request | None = None
    warning: str | None = None


class Principal(Struct, frozen=True):
    """Whom the provider counts."""

    id: str
    login: str
    detail: str = ""


class RepoFacts(Struct, frozen=True):
    """What `doctor` and `discover` learn of a repository.

    Args:
        id: the provider's number, as text.
        active: whether builds are switched on.
        may_trigger: whether this token may trigger; None where the provider does not say.
    """

    id: str
    slug: str
    active: bool
    may_trigger: bool | None = None
    default_branch: str | None = None
    private: bool | None = None
    labels: tuple[str, ...] = ()


class Provider(Protocol):
    """The three methods that every provider has.

    Besides the errors named at each method, all of them may fail with `AccessRefused` (scope account: nothing more
    is called) and `RateLimited`.
    """

    async def trigger(self, trigger: Trigger) -> Request:
        """Asks once, repeats nothing by itself.

        Raises:
            NotTriggered: and its kinds; certainly no build.
            InDoubt: perhaps a build.
        """

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """The request that the lost call made, or None: *certainly not there*.

        Args:
            asked: when the call may have reached the provider, in the provider's time.
            known: ids of requests of the same repo that are known to belong to other triggers.

        Raises:
            InDoubt: it cannot tell yet.
            LookFailed: the lookup itself failed.
        """

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """Reads the state of many requests with the cheapest listings.

        Returns:
            Observations by target id. What is missing was not polled this time (never so for `fresh` ones, unless the
            poll failed).

        Raises:
            LookFailed: nothing at all was learnt.
        """


@runtime_checkable
class Prepares(Protocol):
    """Looks up what a trigger needs (a numeric id, a workflow), once for a repo."""

    async def prepare(self, target: Target) -> Json:
        """Opaque JSON for `Trigger.prepared`; asked once for a repository, and a `place` in it.

        Where the service answers to old names of a repository, or to its number, the map has the key `repository`: what
        the service calls it now. Two names of one repository are not both triggered then.

        Raises:
            Rejected: there is no such repo.
            LookFailed: it cannot be learnt now.
        """


def repository_in(prepared: Json) -> str | None:
    """What the service calls the repository now, as `prepare` found; None where it does not tell."""
    name = prepared.get("repository") if isinstance(prepared, Mapping) else None
    return name if isinstance(name, str) and 0 < len(name) <= LONGEST_REPO and name.isprintable() else None


def carries_marker(provider: Provider, trigger: Trigger) -> bool:
    """Whether the trigger's marker travels with it; where the provider has no method `carries` to say so, each does."""
    carries: Callable[[Trigger], bool] | None = getattr(provider, "carries", None)
    return trigger.marker is not None and (carries is None or carries(trigger))


@runtime_checkable
class Cancels(Protocol):
    """Can end a build."""

    async def cancel(self, target: Target, build: Build) -> bool:
        """Asks once; True when accepted, False when the build had ended before.

        Raises:
            Rejected: may not be canceled by us.
            LookFailed: the answer was lost; asking again is harmless.
        """


@runtime_checkable
class Restarts(Protocol):
    """Can start an old build again under its id."""

    async def restart(self, target: Target, build: Build) -> None:
        """Asks once; the errors of `trigger`."""


@runtime_checkable
class ShowsRequests(Protocol):
    """Knows where a person sees the requests that were made for a target."""

    def requests_page(self, target: Target) -> str:
        """The page's URL."""


@runtime_checkable
class SaysWho(Protocol):
    """Can tell whose token it is."""

    async def whoami(self) -> Principal | None:
        """None where the provider has no such page.

        Raises:
            LookFailed: it cannot be learnt now.
        """


@runtime_checkable
class Inspects(Protocol):
    """Can tell whether a repo is ready, without triggering."""

    async def inspect(self, repo: str) -> RepoFacts | None:
        """None when there is no such repo (or none that this token may see)."""


@runtime_checkable
class Advises(Protocol):
    """Can tell what would make a target safer, without triggering."""

    async def advise(self, target: Target) -> tuple[str, str] | None:
        """What is not safe, and what to do about it, both for a person; None where nothing is.

        Raises:
            Rejected: it cannot be triggered.
            LookFailed: it cannot be learnt now.
        """


@runtime_checkable
class Discovers(Protocol):
    """Can list the repositories of an owner."""

    async def discover(self, owner: str) -> list[RepoFacts]:
        """All of them, over all pages."""


@runtime_checkable
class Narrows(Protocol):
    """Can list those repositories of an owner that its own keys of `discover` mean."""

    async def narrowed(self, owner: str, keys: Mapping[str, Sequence[str]]) -> list[RepoFacts]:
        """Those that all of the keys mean, over all pages.

        Args:
            keys: what stands under each of the keys that the declaration names, one text or several.

        Raises:
            Rejected: there is no such thing, or more than the service shows.
        """


@runtime_checkable
class ListsBranches(Protocol):
    """Can list the branches of a repository."""

    async def branches(self, repo: str) -> list[str]:
        """All of them, over all pages.

        Raises:
            Rejected: there is no such repo.
        """


@runtime_checkable
class SeesBranches(Protocol):
    """Can tell with one call or few whether a target's branch is there."""

    async def sees_branch(self, target: Target) -> bool:
        """False: none is known there; it may be new.

        Raises:
            Rejected: there is no such repo.
        """


class JobLog(Struct, frozen=True):
    """What a job printed that made its build fail.

    Args:
        job: its number, or its name.
        text: its log; the end of it, where there is more.
        url: a page where it is seen.
        exit: the code of its command, where the provider says so.
    """

    job: str
    text: str
    url: str | None = None
    exit: int | None = None


@runtime_checkable
class ShowsDurations(Protocol):
    """Can tell with one call how long the last builds of a repository took."""

    async def durations(self, target: Target, at_most: int) -> list[float]:
        """Seconds that its newest builds ran, of those that ended by themselves.

        Raises:
            Rejected: there is no such repo.
        """


@runtime_checkable
class ShowsLogs(Protocol):
    """Can show what the jobs of a build printed."""

    async def logs(self, target: Target, build: Build, at_most: int) -> JobLog | None:
        """The log of the job that made the build fail; None where none did. Two calls, or few.

        Where the provider does not serve the end alone, the first `LONGEST_LOG` bytes are read, and their end is given.

        Args:
            at_most: bytes of its end that are wanted.

        Raises:
            LookFailed: it cannot be read now, or no more.
        """


@runtime_checkable
class MeasuresQueue(Protocol):
    """Can tell how long the provider's own queue is."""

    async def queue_depth(self, owner: str) -> int:
        """Builds of the owner that wait or run, of every user."""


@runtime_checkable
class ShowsQueue(Protocol):
    """Can show the provider's own queue."""

    async def queue(self, target: Target) -> list[Entry]:
        """Every build that waits or runs, of every user, in the queue where the target's build would stand.

        Raises:
            LookFailed: it cannot be learnt now.
        """


class Rights(Struct, frozen=True):
    """What an account may do for an owner.

    Args:
        text: that, for a person; `remedy`: what to do about what is missing, empty where nothing is.
    """

    text: str
    remedy: str = ""


@runtime_checkable
class ShowsRights(Protocol):
    """Can tell what the account may do for an owner, without triggering."""

    async def rights(self, targets: Sequence[Target]) -> Rights | None:
        """What it may do for the owner of these targets, all of one; None where the service does not tell.

        Raises:
            AccessRefused: it may do nothing for that owner.
            LookFailed: it cannot be learnt now.
        """


class Grant(Struct, frozen=True):
    """A token that a service gave.

    Args:
        lasts: seconds from now until it ends.
    """

    token: Secret
    lasts: float


class Grants(Protocol):
    """Gets tokens that end from the service, for an account that has a key in place of a token.

    The kit keeps each, renews it before it ends and once more when it is refused; see `kit.grants`.

    Attributes:
        mark: stands for the token where accounts are told apart.
    """

    mark: Secret

    def scope(self, call: Call) -> Scope:
        """Whose token a call needs: an owner's, or the account's own, which asks for the others."""

    async def grant(self, scope: Scope, now: float, send: Send) -> Grant:
        """Asks for a new one.

        Args:
            now: the wall clock; the service's, where it was found to differ.
            send: sends with the account's own token; the one for the account itself is made without it.

        Raises:
            AccessRefused: there is none for this scope.
            RateLimited, LookFailed: not now.
        """


class Key(Struct, frozen=True):
    """A key of a target that only some providers have.

    Args:
        type: an annotation that pydantic understands (`str`, `dict[str, Any]`, `Literal[...]`).
        help: one line for the schema and the reference.
        reference: the value is a reference to a secret, resolved when it is sent.
    """

    type: Any
    help: str
    reference: bool = False


class Polling(Struct, frozen=True):
    """What following builds costs, in calls; only the forecast reckons with it.

    Args:
        per_round: for each round, however much is followed.
        per_build: more, for each build that is followed.
        page: builds that the calls of `per_round` show.
        per_owner: more, while more than a page is followed: for each owner with several builds.
        far: newer triggers, above which a build that ends is no longer seen by the way.
        at_end: more, when such a one ends.
    """

    per_round: float = 1.0
    per_build: float = 0.0
    page: int = 100
    per_owner: float = 0.0
    far: int = 300
    at_end: float = 0.0


AccountProblem: TypeAlias = tuple[str, str, tuple[str, ...]]
"""What is wrong, the remedy, and the keys below the account that lead there."""


class Declaration(Struct, frozen=True):
    """What a provider says about itself, apart from its code; importing it imports no HTTP.

    Args:
        url: of every account that names none; empty where each must name its own.
        url_end: with what a written URL may end: it is cut, since paths begin with it.
        hosts: hosts to which a token goes without a question.
        factory: `module:attribute` of `(account, send, secrets) -> Provider`, imported when needed.
        headers: `module:attribute` of `(account, token) -> headers` for the transport.
        grants: `module:attribute` of `(account, secrets) -> Grants`, for accounts without a token of which
            `asks_for_tokens` says so.
        asks_for_tokens: whether an account gets its tokens from the service.
        lookalike: `module:attribute` of a class, as `orchestrator.lookalike.kit.LookAlike` describes it, to
            rehearse against; None where there is none.
        limits: default limits; their order is the order of reports.
        trigger_limits: names of the limits that a trigger counts against, each as often as it costs.
        triggers_at_once: triggers that may be without an answer; None: as many as there are connections.
        accepted_limits: those of them that count only what was, or may have been, accepted.
        harmless_refusals: names of limits whose size is unknown and for which a refusal does no harm: it is
            found by trying, from the default on. Never for a provider that bans.
        restarts: whether it can start a build again (`Restarts`); manifests with `reruns` are checked by it.
        keys: keys of a target that this provider has beyond those of every target.
        settings: keys of an account that this provider has beyond those of every account.
        secret_settings: where in the settings references to secrets stand, as keys that lead there; `key_settings`:
            those to private keys, which have several lines.
        starters: what `init` writes for the type: by path, the resource (`package:file`).
        needs_token: whether an account must have one; else calls without go out without.
        token_env: environment variable that holds the token when the manifest names none.
        token_fallback: `module:attribute` of `(url, environ, home) -> token or None`, asked when that is not set
            either: what the provider's own client has stored.
        states: the provider's native build states and what they mean.
        fold_case: whether `ACME/x` and `acme/x` are one repository.
        repo_ids: whether a repository may be given by number.
        old_names: whether the service answers to the old names of a repository that was renamed or moved.
        any_repo: whether a repository may be any text but `@`, `:` and control characters, not only `owner/name`.
        clones: hosts of the repositories' clone URLs, with the keys of a target that go with each; the first is usual.
        narrows: keys of `discover` that only it has, and that name some of an owner's repositories.
        lacks: keys that every target has, but not one of this provider.
        place: what beside its repository decides what `prepare` finds for a target and whether its marker shows.
        rival: what two targets of a repository have in common where the service ends the build of the one that was
            triggered first; None: it lets all of them run.
        home: the name by which `inspect` knows where a target's builds stand; by default its repository.
        target_problem: what is wrong with a target's keys taken together, and the remedy, or None.
        repo_problem: why the service cannot have a repository of this name, given the target's keys, or None.
        message_problem: what is wrong with a message (a skip command), or None.
        account_problems: what is wrong with an account's settings, and the remedy, with the keys that lead there.
        for_account: what is declared otherwise for one account, as its settings say (how its requests are found).
        warn: warnings for a target, sentences for a person.
        learn: what an answer reveals of limits; where it stands in headers, made by `limits.headers.learn_from`.
    """

    type: str
    title: str
    url: str
    hosts: frozenset[str]
    factory: str
    headers: str
    states: Mapping[str, BuildState]
    limits: tuple[Limit, ...]
    trigger_limits: tuple[str, ...]
    url_end: str = ""
    grants: str | None = None
    asks_for_tokens: Callable[[Account], bool] = lambda account: False
    lookalike: str | None = None
    accepted_limits: frozenset[str] = frozenset()
    harmless_refusals: frozenset[str] = frozenset()
    connections: int = 16
    triggers_at_once: int | None = None
    settle: float = 60.0
    finds: Findability = Findability.BY_MARKER
    restarts: bool = False
    keys: Mapping[str, Key] = field(default_factory=dict)
    narrows: Mapping[str, Key] = field(default_factory=dict)
    settings: Mapping[str, Key] = field(default_factory=dict)
    secret_settings: tuple[tuple[str, ...], ...] = ()
    key_settings: tuple[tuple[str, ...], ...] = ()
    starters: Mapping[str, str] = field(default_factory=dict)
    needs_token: bool = True
    token_env: str | None = None
    token_fallback: str | None = None
    fold_case: bool = True
    repo_ids: bool = False
    old_names: bool = False
    any_repo: bool = False
    clones: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    lacks: frozenset[str] = frozenset()
    place: Callable[[Target], str] = lambda target: ""
    rival: Callable[[Target], str] | None = None
    home: Callable[[Target], str] = lambda target: target.repo
    target_problem: Callable[[Target], tuple[str, str] | None] = lambda target: None
    repo_problem: Callable[[str, Mapping[str, Json]], str | None] = lambda repo, keys: None
    message_problem: Callable[[str], str | None] = lambda message: None
    account_problems: Callable[[Account], Iterable[AccountProblem]] = lambda account: ()
    for_account: Callable[[Declaration, Account], Declaration] = lambda declared, account: declared
    warn: Callable[[Target], Sequence[str]] = lambda target: ()
    warn_account: Callable[[Account], Sequence[str]] = lambda account: ()
    learn: Callable[[Call, Answer], Sequence[Learnt]] = lambda call, answer: ()
    is_refused: Callable[[Answer], bool] = lambda answer: answer.status == 429
    polling: Polling = Polling()


Secrets: TypeAlias = Callable[[str], str]
"""Resolves a reference (`env:NAME`, `file:PATH`, `command:ARGV`) to the secret; UsageError when it cannot."""


def references_in(account: Account, declared: Declaration, *, with_keys: bool = True) -> list[str]:
    """The references to secrets in an account's settings, those to private keys, too."""
    places = (*declared.secret_settings, *(declared.key_settings if with_keys else ()))
    found = [within(account.settings, keys) for keys in places]
    return [one for one in found if isinstance(one, str)]


def within(value: Json, keys: Sequence[str]) -> Json:
    """What stands below these keys, each within the one before; None where nothing does."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


class Line(Struct, frozen=True):
    """How an account is reached: the bare transport, and the provider that can be built over any `Send`.

    Args:
        send: the transport; it keeps no limit. The engine wraps it before it hands it to `provider_over`.
        token_hash: stands in for the principal where the provider has no `whoami`.
    """

    account: Account
    declaration: Declaration
    send: Send
    provider_over: Callable[[Send], Provider]
    token_hash: str
