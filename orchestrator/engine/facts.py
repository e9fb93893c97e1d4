"""Records the facts of one account, and puts each row where its next step is waited for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Sequence
from heapq import heappush

from orchestrator.core.errors import AccessRefused, RateLimited
from orchestrator.core.events import (
    AccountStopped,
    Ended,
    Event,
    Frozen,
    LimitLearnt,
    MarkerProven,
    Requested,
    TargetEvent,
    target_of,
)
from orchestrator.core.model import ACCOUNT, Learnt, Outcome, Refusal, Scope, Target, marker_of
from orchestrator.core.next_step import FIRST_LOOK, Ask, End, Find, Look, Nothing, Step, next_step, tick
from orchestrator.core.progress import Progress, apply
from orchestrator.engine.gate import Gate
from orchestrator.engine.pending import Rows
from orchestrator.engine.run import STALE, Run
from orchestrator.engine.shared_limits import Commons
from orchestrator.journal.port import Lease
from orchestrator.limits.budget import Budget, read_rule
from orchestrator.providers.port import Line, Principal

NOT_FOLLOWED = -1.0
FOLLOW = Look(0.0, "")  # what comes after a receipt; until when is asked when it is looked at
ADOPTED = "adopted"  # how a request became a target's: a person said so
NOT_TOLD = "the server did not say whose token it is; others may just have used its limits up"
OWNER_REFUSED_FOR = 86_400.0  # seconds; an owner without credit stays closed for this process


class Ledger:
    """One account of a run.

    Args:
        rows_of: the numbers of the account's targets in the plan.
        poke: tells the driver that something changed.
    """

    def __init__(
        self, run: Run, line: Line, lease: Lease, rows_of: Sequence[int], reach: float, poke: Callable[[], None]
    ) -> None:
        self.run = run
        self.line = line
        self.account = line.account.name
        self.now = run.now
        self.all_rows = rows_of
        self.principal = f"{line.declaration.type}:{line.account.url}:{line.token_hash}"
        self.marker_proven = self.account in run.history.proven
        self.budget = Budget(line.account.limits, line.declaration.accepted_limits, line.declaration.harmless_refusals)
        self.gate = Gate(
            line,
            self.budget,
            now=run.now,
            reach=reach,
            random=run.random,
            alive=self._check_alive,
            learnt=self._rule_learnt,
        )
        self.commons = self.gate.commons = Commons(run, self.budget, line.account.connections)
        self.rows = Rows(self.repo_of)
        # for each row, in eight and four bytes: when it last told something new, and the looks since then that did not
        self.changed = array("d", [NOT_FOLLOWED]) * len(run.history.targets)
        self.looks = array("I", [0]) * len(run.history.targets)
        self.trigger_limits = line.declaration.trigger_limits
        self.poke = poke
        self.lease = lease
        self.looked: dict[
            int, float
        ] = {}  # rows of which an earlier request was looked for, and found absent, and when
        self.vouched: set[int] = set()  # rows of which a person says that they have no request
        self.prover: int | None = None  # the row that shows whether requests of this account carry their marker
        self._closed_owners: set[str] = set()
        self._canceled: set[int] = set()
        self._known: dict[str, set[str]] | None = None
        self._repos: list[str | None] = [None] * len(run.history.targets)
        self._learnt: list[LimitLearnt] = []
        self._carried: list[tuple[int, Requested]] = []

    # -- what is known ------------------------------------------------------------------------------------------

    def target(self, row: int) -> Target:
        """The target of a row."""
        return self.run.history.targets[row]

    def progress(self, row: int) -> Progress:
        """How far the target of a row has come."""
        return self.run.history.of(self.run.history.targets[row].id)

    def repo_of(self, row: int) -> str:
        """The repository of a row, under the name by which its limits are counted."""
        repo = self._repos[row]
        if repo is None:
            repo = self._repos[row] = self.gate.scope_name(self.target(row).repo) or ""
        return repo

    def step(self, row: int) -> Step:
        """What to do next with a row."""
        return next_step(self.target(row), self.progress(row), self.now(), self.run.since)

    def known(self, row: int) -> Collection[str]:
        """Ids of the requests of the row's repository that are known to be somebody else's; no person's word counts."""
        if self._known is None:  # made for the first look for a lost call: most runs have none
            self._known = {}
            for other in self.all_rows:
                progress = self.progress(other)
                if progress.request is not None and progress.how != ADOPTED:
                    self._known.setdefault(self.repo_of(other), set()).add(progress.request.id)
        return self._known.get(self.repo_of(row), frozenset())

    def marker(self, target: Target) -> str | None:
        """What travels with the target's triggers, so that its request can be recognised."""
        return marker_of(self.run.name, self.run.id, target.id) if target.marked else None

    def can_find(self, row: int) -> bool:
        """Whether a look can ever tell what became of a lost call."""
        return self.progress(row).marker is not None and self.line.declaration.finds.can_tell

    def may_be_triggered(self, row: int) -> bool:
        """Whether the journal says that nothing was started, and nothing decided, for the row."""
        progress = self.progress(row)
        return not progress.may_exist and not progress.is_done

    def must_look(self, row: int) -> bool:
        """Whether an earlier request of the row has to be looked for before this process triggers it first."""
        id_ = self.target(row).id
        if id_ not in self.run.look_for or row in self.vouched:
            return False
        return self.progress(row).attempts == self.run.attempts_before.get(id_, 0)

    def is_shelved(self, row: int) -> bool:
        """Whether the row stays open because its owner was refused."""
        return self.target(row).owner in self._closed_owners

    @property
    def is_halted(self) -> bool:
        """Whether nothing more may be called."""
        return self.run.is_halted or self.gate.stopped is not None

    # -- recording ----------------------------------------------------------------------------------------------

    async def record(self, row: int, *events: TargetEvent) -> None:
        """Makes facts about a row durable, with the verdict that follows from them, and moves the row on."""
        await self.record_all([(row, events)])

    async def record_all(self, news: Sequence[tuple[int, Sequence[TargetEvent]]]) -> None:
        """As `record`, for many rows in one append."""
        at = self.now()
        batch: list[TargetEvent] = []
        moves: list[tuple[int, Step]] = []
        for row, events in news:
            target, progress = self.target(row), self.progress(row)
            for event in events:
                progress = apply(progress, event, at)
            step = next_step(target, progress, at, self.run.since)
            batch.extend(events)
            if isinstance(step, End):
                batch.append(Ended(target.id, step.outcome, step.code, step.reason))
                step = Nothing()
            moves.append((row, step))
        await self.append(*batch, at=at)
        for row, step in moves:
            self.place(row, step)
        self.poke()

    def carry(self, row: int, event: Requested) -> None:
        """Takes a receipt along with the next append, so that they share a sync; until then nothing is built on it."""
        self._carried.append((row, event))

    async def flush(self) -> None:
        """Makes durable what is carried."""
        if self._carried:
            await self.append()
            self.poke()

    async def append(self, *events: Event, at: float | None = None) -> None:
        """Appends to the account's stream; what is in memory follows what is durable, never the other way round."""
        carried, self._carried = self._carried, []
        learnt, self._learnt = self._learnt, []
        batch: list[Event] = [event for _, event in carried]
        batch += events
        batch += learnt
        if not batch:
            return
        at = self.now() if at is None else at
        await self.run.journal.append(self.lease, batch, at)
        for event in batch:
            self._take_in(event, at)
        for row, _ in carried:
            self.place(row, FOLLOW)

    def _take_in(self, event: Event, at: float) -> None:
        if target_of(event) is None:
            self.run.history.add(self.account, self.run.history.cursor.get(self.account, 0) + 1, at, event)
            return
        self.run.apply(self.account, at, event)  # type: ignore[arg-type]  # events with a target
        if self._known is not None and isinstance(event, Requested) and event.how != ADOPTED:
            row = self.run.index[event.target]
            self._known.setdefault(self.repo_of(row), set()).add(event.id)

    def place(self, row: int, step: Step | None = None) -> None:
        """Puts the row where its next step is waited for."""
        rows = self.rows
        match step or self.step(row):
            case Ask():
                rows.in_flight.discard(row)
                rows.free(row)
                if self.run.is_released(row):
                    self._ready(row)
            case Find(at=at):
                rows.occupy(row)
                heappush(rows.finds, (max(at, self.now()), row))
            case Look():
                rows.in_flight.add(row)
                rows.free(row)
                self._follow(row)
            case _:
                rows.in_flight.discard(row)
                rows.free(row)
                self.changed[row] = NOT_FOLLOWED

    def _ready(self, row: int) -> None:
        if self.must_look(row) and row not in self.looked and not self.run.is_closed:
            heappush(self.rows.finds, (self.now(), row))
        else:
            self.rows.make_ready(row)

    def look_at(self, row: int, at: float) -> None:
        """The row's request is to be looked at then, together with others that are due about then."""
        self.rows.looks.add(row, tick(at))

    def _follow(self, row: int) -> None:
        now = self.now()
        if self.run.is_canceling:
            self.cancel_soon(row)
        is_new = self.changed[row] == NOT_FOLLOWED
        self.changed[row], self.looks[row] = now, 0
        self.look_at(row, now + FIRST_LOOK if is_new else now + 1.0)

    def followed(self) -> list[int]:
        """The rows whose request is being followed."""
        return [row for row in self.all_rows if self.changed[row] != NOT_FOLLOWED]

    def cancel_soon(self, row: int) -> None:
        """The row's build is to be canceled, once by each process: an earlier one may have died before it asked."""
        build = self.progress(row).build
        if build is not None and not build.state.is_final and row not in self._canceled:
            self._canceled.add(row)
            self.rows.cancels.append(row)

    # -- the account --------------------------------------------------------------------------------------------

    async def heed_earlier_ban(self) -> None:
        """Before the first call: who was told to stay away does not knock, not even to ask whose token it is.

        Raises:
            AccessRefused: until then nothing is called.
        """
        journal = self.run.journal
        mine = await journal.memory(self.principal)
        named = await journal.memory(mine.alias) if mine.alias else mine
        until = max(mine.frozen.get(ACCOUNT, 0.0), named.frozen.get(ACCOUNT, 0.0))
        if (left := until - self.now()) > 0.0:
            raise AccessRefused("banned", "an earlier run was told to stay away, so nothing was asked", ACCOUNT, left)

    async def know_principal(self, principal: Principal | None) -> None:
        """Takes over what earlier runs know of whom the provider counts, also what they did before they were told."""
        anonymous = self.principal
        alias = (await self.run.journal.memory(anonymous)).alias
        if principal is not None:
            self.principal = f"{self.line.declaration.type}:{self.line.account.url}:{principal.id}"
            self.run.observe("account.known", account=self.account, login=principal.login)
            if alias != self.principal:
                await self.run.journal.remember(anonymous, alias=self.principal)
        elif alias:
            self.principal = alias  # the provider does not say today, and has said it before
        await self.commons.begin(self.principal)
        memory = await self.run.journal.memory(self.principal)
        if memory.marker_proven and not self.marker_proven:
            self.marker_proven = True
        now = self.now()
        for scope, until in memory.frozen.items():
            self.budget.freeze(scope, until, "as an earlier run was told")
        for frozen in (f for (account, _), f in self.run.history.frozen.items() if account == self.account):
            self.budget.freeze(frozen.scope, frozen.until, frozen.cause)
        for told in (told for (account, *_), told in self.run.history.learnt.items() if account == self.account):
            if (learnt := read_rule(told.scope, told.rule)) is not None:
                self.budget.learn(learnt, now)
        longest = max((limit.per for limit in self.budget.limits.values()), default=0.0)
        ahead = self.run.steady() - now
        names = dict.fromkeys((anonymous, self.principal))
        stamps = [stamp for name in names for stamp in await self.run.journal.usage(name, now + ahead - longest)]
        for stamp in sorted(stamps, key=lambda stamp: stamp.at):
            self.budget.remember(stamp.name, stamp.scope, stamp.at - ahead)

    def assume_all_used(self) -> None:
        """Waits a full period before the first trigger, as if others had just used all that the account may.

        A freeze, not full windows: no limit of ours made the run wait, and none is to be blamed for it.
        """
        limits = [self.budget.limits[name] for name in self.trigger_limits if name in self.budget.limits]
        longest = max((limit.per for limit in limits if limit.scope == ACCOUNT), default=0.0)
        self.budget.freeze(ACCOUNT, self.now() + longest, NOT_TOLD)

    async def refuse(self, error: AccessRefused) -> None:
        """Stops a whole scope: the account at once, or one owner while others go on."""
        now = self.now()
        until = None if error.retry_after is None else now + error.retry_after
        if error.scope != ACCOUNT:
            self.close_owner(error.scope.name)
            await self.append(Frozen(error.scope, until or now + OWNER_REFUSED_FOR, f"{error.code}: {error.reason}"))
            self.run.observe("owner.refused", account=self.account, scope=error.scope, cause=error.reason)
        elif self.gate.stopped is None:
            self.gate.stopped = error
            await self.append(AccountStopped(error.reason, until, error.code))
            if until is not None:
                await self.run.journal.remember(self.principal, frozen={ACCOUNT: until})
            self.run.observe("account.stopped", account=self.account, cause=error.reason, code=error.code)
        self.poke()

    def close_owner(self, owner: str) -> None:
        """No target of the owner is triggered by this process any more."""
        self._closed_owners.add(owner)

    async def heed(self, refusal: Refusal) -> None:
        """A request was refused for a reason that holds for more than its target."""
        if refusal.scope is not None:
            await self.refuse(AccessRefused(refusal.code, refusal.reason, refusal.scope))

    async def freeze(self, error: RateLimited, patience: float) -> None:
        """Leaves exactly the refused scope alone for as long as the provider says, or for `patience` seconds."""
        now = self.now()
        until = now + (patience if error.retry_after is None else error.retry_after)
        scope = error.scope
        if scope.kind == "repo":
            scope = Scope("repo", self.gate.scope_name(scope.name) or "")
        self.budget.freeze(scope, until, error.reason)
        for learnt in error.learnt:
            if self.budget.learn(learnt, now):
                self._rule_learnt(learnt, "")
        self.run.observe("limit.frozen", scope=scope, seconds=round(until - now), cause=error.reason)
        await self.append(Frozen(scope, until, error.reason))

    async def prove_marker(self) -> None:
        """A request known to be ours carries its marker: from now on `find` may say that one is absent."""
        if not self.marker_proven:
            self.marker_proven = True
            await self.append(MarkerProven())
            await self.run.journal.remember(self.principal, marker_proven=True)

    async def end_in_doubt(self, row: int, why: str, where: str) -> None:
        """Gives up looking; a person, or a later resume, can still settle it.

        Args:
            where: the place where a person can see what was made.
        """
        target, progress = self.target(row), self.progress(row)
        cause = progress.doubt.cause if progress.doubt is not None else "the answer was lost"
        remedy = f"look at {where}, then `resume --adopt-request TARGET=ID` or `resume --assume-absent TARGET`"
        reason = f"answer lost ({cause}) and not found again: {why}; {remedy}"
        await self.record(row, Ended(target.id, Outcome.IN_DOUBT, "in_doubt", reason))

    def _rule_learnt(self, learnt: Learnt, repo: str) -> None:
        self._learnt.append(LimitLearnt(learnt.scope, self.budget.told(learnt)))

    async def _check_alive(self) -> None:
        """Before a call leaves: a process that was stalled makes sure that nobody took its lease meanwhile."""
        if self.run.steady() - self.run.beat_at > STALE or self.run.wall() - self.run.beat_wall > STALE:
            await self.run.beat()
