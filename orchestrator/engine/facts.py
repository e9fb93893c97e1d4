"""One account of a run: appends its facts, folds them, and puts each row where its next step is waited for."""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import heappop, heappush

from orchestrator.core.errors import AccessRefused, RateLimited
from orchestrator.core.events import (
    AccountStopped,
    Ended,
    Event,
    Frozen,
    JournalWentBack,
    MarkerProven,
    Requested,
    TargetEvent,
)
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Build, Json, Outcome, Scope, Target, marker_of, scopes_around, unseen
from orchestrator.core.next_step import FIRST_POLL, Again, Ask, End, Find, Nothing, Poll, Step, backoff, next_step, tick
from orchestrator.core.options import OldBuild
from orchestrator.core.progress import Progress, Restart, apply
from orchestrator.core.reruns import FAILED
from orchestrator.core.restart import is_later
from orchestrator.engine.coordinator import Coordinator
from orchestrator.engine.gate import Sender
from orchestrator.engine.run import Run, Wake
from orchestrator.journal.port import AccountMemory, Lease
from orchestrator.limits.admission import Admission
from orchestrator.limits.budget import read_rule
from orchestrator.providers.port import Line

NOT_FOLLOWED = -1.0
ASK_AGAIN = 30.0  # seconds after which a cancel is asked for again whose build goes on
FOLLOW = Poll(0.0, "")  # what comes after a receipt; until when is asked when it is polled
UNWANTED = "canceled_before_trigger"  # the code of a target that a person canceled while it waited
# How a request became a target's: a person said so, or an earlier run made it and its build was started again.
ADOPTED, RESTARTED = "adopted", "restarted"
# Seconds to leave a scope alone where a refusal does not say how long. A repo's hourly limit names no time of reset:
# ten minutes, then ask once.
MOST_DOUBLED = 6  # of a patience that grows with each refusal: about an hour of a minute
REPO_PATIENCE, ACCOUNT_PATIENCE = 600.0, 60.0
OWNER_REFUSED_FOR = 86_400.0  # seconds; an owner without credit stays closed for this process


class Due:
    """Rows by the instant at which they are due. Ticks make many fall together, so that each costs eight bytes.

    Attributes:
        first: the earliest instant; infinity where there is none.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._rows: dict[float, list[int]] = {}

        self.first = math.inf

    def add(self, row: int, at: float) -> None:
        """The row is due then."""
        rows = self._rows.get(at)
        if rows is None:
            rows = self._rows[at] = []
            heappush(self._times, at)
            self.first = self._times[0]
        rows.append(row)

    def take(self, now: float, at_most: int) -> list[int]:
        """Takes out rows that are due, the earliest first."""
        taken: list[int] = []
        while self.first <= now and len(taken) < at_most:
            rows, room = self._rows[self.first], at_most - len(taken)
            taken += rows[:room]
            del rows[:room]
            if not rows:
                del self._rows[heappop(self._times)]
                self.first = self._times[0] if self._times else math.inf
        return taken


class AccountRun:
    """What is known of one account of a run, and what is to be done with each of its rows.

    Args:
        rows: the numbers of the account's targets in the plan.

    Attributes:
        finds: rows in doubt, each with the time at which its request is to be looked for.
        unwanted: rows that nobody wants any more, and of which that is still to be journaled.
        polls: rows whose request is followed, by the time at which it is to be polled.
        changed: by row, when its request last changed; negative where it is not followed.
        polled: by row, the polls since then.
        reruns: rows whose build failed and waits to be started again.
        looked: rows of which an earlier request was looked for, and found absent, and when.
        unseen: by repository, rows taken over from the journal that are still to be looked for.
        vouched: rows of which a person says that they have no request (`--assume-absent`).
        failed: is told each row that has come to its end, for what may be read of it.
        provers: by place, the row that shows whether requests carry their marker there.
        prepared: by place, what the provider looked up for its triggers.
        principal: the user that the provider counts; until it is known, the token stands for it.
    """

    def __init__(
        self,
        run: Run,
        line: Line,
        lease: Lease,
        rows: Sequence[int],
        admission: Admission,
        sender: Sender,
        coordinator: Coordinator,
        wake: Wake,
    ) -> None:
        self.run = run
        self.line = line
        self.name = line.account.name
        self.lease = lease
        self.rows = rows
        self.admission = admission
        self.budget = admission.budget
        self.sender = sender
        self.wake = wake
        self.now = run.now
        self.notice = run.notice
        self.principal = sender.anonymous
        self._proven = set(run.history.proven.get(self.name, ()))
        self.finds: list[tuple[float, int]] = []
        self.polls = Due()
        self.cancels: list[int] = []
        self.unwanted: list[int] = []
        self.changed = array("d", [NOT_FOLLOWED]) * len(run.history.targets)
        self.polled = array("I", [0]) * len(run.history.targets)
        self.reruns: set[int] = set()
        self.looked: dict[int, float] = {}
        self.unseen: OrderedDict[str, list[int]] = OrderedDict()
        self.vouched: set[int] = set()
        self.failed: Callable[[int], None] = lambda row: None
        self.provers: dict[str, int] = {}
        self.prepared: dict[str, Json] = {
            repo: what for (account, repo), what in run.history.prepared.items() if account == self.name
        }
        self._coordinator = coordinator
        self._targets = run.history.targets
        self._ends: dict[tuple[int, int], Build] = {}  # by row and start, builds that failed, by the provider's clock
        self._canceled: dict[int, float] = {}  # when its cancel was last asked for
        self._known: dict[str, set[str]] | None = None
        self._repo_of: dict[str, str] = {}  # by id, as far as needed for that
        self._deferred: list[tuple[int, Sequence[TargetEvent]]] = []
        self._refused: dict[Scope, tuple[int, float]] = {}  # how often in a row, and how long it is left alone

    # -- what is known ------------------------------------------------------------------------------------------

    def target(self, row: int) -> Target:
        """The target of a row."""
        return self._targets[row]

    def progress(self, row: int) -> Progress:
        """How far the target of a row has come."""
        return self.run.history.of(self._targets[row].id)

    def step(self, row: int) -> Step:
        """What to do next with a row."""
        return self.step_at(row, self.now())

    def step_at(self, row: int, at: float) -> Step:
        """As `step`, at an instant that is known already."""
        return self.step_after(row, self.progress(row), at)

    def step_after(self, row: int, progress: Progress, at: float) -> Step:
        """What to do next with a row that has come so far."""
        target = self._targets[row]
        return next_step(target, progress, at, self.run.since, again=self._is_rerun_due(row, target, progress))

    def _is_rerun_due(self, row: int, target: Target, progress: Progress) -> bool:
        """Whether the row's build has failed and is to be started again: never where no more is triggered."""
        if not target.reruns.times or self.run.is_closed or not self.line.declaration.restarts:
            return False
        return progress.asked_at is None and not self._is_unwanted(row) and self.run.places.take(target, progress)

    def old(self, row: int) -> OldBuild | None:
        """The build that is started again in place of a trigger: one of this run that failed, or of an earlier run."""
        progress = self.progress(row)
        if progress.request is not None and progress.build is not None:
            return OldBuild(progress.request, progress.build.id, progress.build)
        return self.run.restarts.get(self._targets[row].id)

    def known(self, row: int) -> Collection[str]:
        """Ids of requests of the row's repository that belong to other rows, except where a person said so."""
        repo_of = self.admission.repo_of
        if self._known is None:  # made for the first look for a lost call: most runs have none
            self._known = {}
            all_rows = [other for other, target in enumerate(self._targets) if target.account == self.name]
            self._repo_of = {self._targets[other].id: repo_of(other) for other in all_rows}
            for other in all_rows:
                progress = self.progress(other)
                if progress.request is not None and progress.how != ADOPTED:
                    self._known.setdefault(repo_of(other), set()).add(progress.request.id)
        return self._known.get(repo_of(row), frozenset())

    def marker(self, target: Target) -> str | None:
        """What travels with the target's triggers, so that its request can be recognised."""
        return marker_of(self.run.name, self.run.id, target.id) if target.marked else None

    def prepared_key(self, row: int) -> str:
        """What the triggers of the row share with others: its repository, and what else the provider names."""
        repo, more = self.admission.repo_of(row), self._more(row)
        return f"{repo} {more}" if more else repo

    def _more(self, row: int) -> str:
        return self.line.declaration.place(self._targets[row])

    def proof(self, row: int) -> str:
        """Where it was to be seen that requests such as the row's carry their marker; empty: anywhere."""
        return self.prepared_key(row) if self._more(row) else ""

    async def shows_marker(self, row: int) -> bool:
        """Whether a request that is known to be ours was ever seen to carry its marker there."""
        proof = self.proof(row)
        if proof not in self._proven and proof:
            memory = await self.run.journal.memory(f"{self.principal} {proof}")
            self._proven |= {proof} if memory.marker_proven else set()
        return proof in self._proven

    def can_find(self, row: int) -> bool:
        """Whether a look can ever tell what became of a lost call."""
        return self.progress(row).marker is not None and self.line.declaration.finds.can_look

    def restart(self, row: int) -> Restart | None:
        """The last time that the row's build was asked to start again, and the build before; None: it never was."""
        progress, old = self.progress(row), self.run.restarts.get(self._targets[row].id)
        last, asked = progress.restart, progress.asked_at or progress.triggered_at
        if last is None and old is not None and asked is not None:  # older versions journaled it as a trigger
            last = Restart(unseen(old.build), asked)
        if last is None or old is None or last.before != unseen(old.build):
            return last
        return replace(last, before=old.as_seen)

    def attempt(self, row: int, told: Build, known: Mapping[str, Build]) -> Build | None:
        """What is known of the attempt of a build that the provider tells of; None where it is a new one.

        Args:
            known: by id, the row's builds as last seen, by our clock.
        """
        progress = self.progress(row)
        start = progress.reruns + progress.is_restarting
        is_new = is_later(self._ends.get((row, start - 1)), told)
        if self._targets[row].reruns.times and told.state in FAILED and (is_new or not start):
            self._ends[row, start] = told
        return None if is_new else known.get(told.id)

    def may_be_triggered(self, row: int) -> bool:
        """Whether nothing was started, and nothing decided, for the row, and nobody wants it canceled."""
        if self._is_unwanted(row):
            self.unwanted.append(row)
            return False
        return self.may_be_asked(row)

    def may_be_asked(self, row: int) -> bool:
        """Whether the journal says that nothing was started, and nothing decided, for the row."""
        progress = self.progress(row)
        if progress.asked_at is not None or progress.verdict is not None:
            return False
        return progress.request is None or isinstance(self.step(row), Again)

    def must_look(self, row: int) -> bool:
        """Whether an earlier request of the row has to be looked for before this process triggers it first."""
        run, target = self.run, self._targets[row]
        if row in self.vouched or not (target.id in run.look_for or self._is_taken_over(target)):
            return False
        progress = self.progress(row)
        return progress.request is None and progress.attempts == run.attempts_before.get(target.id, 0)

    def _is_taken_over(self, target: Target) -> bool:
        """Whether an earlier process may have asked for the target, though the journal does not tell of it."""
        can_tell = target.marked and self.line.declaration.finds.can_tell
        return self.run.is_taken_over and can_tell and target.id not in self.run.restarts

    @property
    def is_halted(self) -> bool:
        """Whether nothing more may be called."""
        return self.run.is_halted or self.sender.stopped is not None

    # -- recording ----------------------------------------------------------------------------------------------

    async def record(self, row: int, *events: TargetEvent) -> None:
        """Makes facts about a row durable, with the verdict that follows from them, and moves the row on."""
        await self.record_all([(row, events)])

    async def record_all(self, news: Sequence[tuple[int, Sequence[TargetEvent]]]) -> None:
        """As `record`, for many rows in one append."""
        if not news:
            return
        at = self.now()
        batch: list[TargetEvent] = []
        moves: list[tuple[int, Step]] = []
        for row, events in news:
            target, progress = self._targets[row], self.progress(row)
            for event in events:
                progress = apply(progress, event, at)
            step = self.step_after(row, progress, at)
            batch.extend(events)
            if isinstance(step, End):
                batch.append(Ended(target.id, step.outcome, step.code, step.reason))
                step = Nothing()
            moves.append((row, step))
        await self.append(*batch, at=at)
        for row, step in moves:
            self.place(row, step)
        self.wake.set()

    def defer(self, row: int, *receipt: TargetEvent) -> None:
        """Leaves a receipt to the next append, so that both share a sync; nothing may depend on it until then."""
        self._deferred.append((row, receipt))
        if self._refused:
            for scope in scopes_around(self.admission.repo_of(row)):
                self._refused.pop(scope, None)

    async def flush(self) -> None:
        """Makes durable what was deferred."""
        if self._deferred:
            await self.append()
            self.wake.set()

    async def append(self, *events: Event, at: float | None = None) -> None:
        """Appends to the account's stream, together with what was deferred, and with limits that answers revealed."""
        deferred, self._deferred = self._deferred, []
        batch: list[Event] = [event for _, receipt in deferred for event in receipt]
        batch += events
        if self.sender.news:
            batch += self.sender.news
            self.sender.news = []
        if not batch:
            return
        verdicts = await self.run.append(self.lease, batch, self.now() if at is None else at)
        if verdicts and self.run.is_canceling:
            self.run.stopping_since = self.now()
        for event in batch if self._known is not None else ():
            if isinstance(event, Requested) and event.how != ADOPTED:
                self._known.setdefault(self._repo_of[event.target], set()).add(event.id)  # type: ignore[union-attr]
        if verdicts:
            self._coordinator.verdicts_given(verdicts)
        for row, _ in deferred:
            self.place(row, FOLLOW)

    # -- where rows wait ----------------------------------------------------------------------------------------

    def place_new(self, row: int) -> None:
        """As `place`, for a row of which nothing is known."""
        if self._is_unwanted(row) and (row in self.looked or not self.must_look(row)):
            self.unwanted.append(row)
            return
        if self.run.is_canceling and self.run.looks_first:
            self._seek(row)
            return
        if not self.run.is_released(row):
            return
        if not self.must_look(row) or row in self.looked or not self.run.looks_first:
            self.admission.enqueue(row)
        elif self._targets[row].id in self.run.look_for:
            self.find_at(row, self.now())
        else:
            self.unseen.setdefault(self.admission.repo_of(row), []).append(row)

    def place(self, row: int, step: Step | None = None) -> None:
        """Puts the row where its next step is waited for."""
        admission = self.admission
        self.reruns.discard(row)
        match step or self.step(row):
            case Ask():
                admission.over(row)
                self.place_new(row)
            case Find(at=at):
                admission.doubted(row)
                self.find_at(row, max(at, self.now()))
            case Poll():
                admission.accepted(row)
                self._follow(row)
            case Again():
                admission.over(row)
                self.changed[row] = NOT_FOLLOWED
                self.reruns.add(row)
                admission.enqueue(row)
            case _:
                admission.over(row)
                self.changed[row] = NOT_FOLLOWED
                self.failed(row)

    def find_at(self, row: int, at: float) -> None:
        """The row's request is to be looked for then."""
        heappush(self.finds, (at, row))

    def poll_at(self, row: int, at: float) -> None:
        """The row's request is to be polled then, together with others that are due about then."""
        self.polls.add(row, tick(at))

    def _follow(self, row: int) -> None:
        now = self.now()
        if self.run.is_canceling or self._is_unwanted(row):
            self.cancel_soon(row)
        is_new = self.changed[row] == NOT_FOLLOWED
        self.changed[row], self.polled[row] = now, 0
        self.poll_at(row, now + FIRST_POLL if is_new else now + 1.0)

    def cancel(self) -> None:
        """The builds that this run started, or those of its unwanted targets, are to be canceled."""
        for row in self.rows:
            if not (self.run.is_canceling or self._is_unwanted(row)):
                continue
            if self.changed[row] != NOT_FOLLOWED:
                self.cancel_soon(row)
            elif self._is_unwanted(row) and row not in self.admission.in_flight and not self.must_look(row):
                self.unwanted.append(row)
            elif not self.run.is_released(row):
                self._seek(row)

    def _seek(self, row: int) -> None:
        """What the journal has lost of a run is looked for before that is canceled: a lost wave was open."""
        if not self.run.is_canceling or row in self.looked or not (self.may_be_asked(row) and self.must_look(row)):
            return
        rows = self.unseen.setdefault(self.admission.repo_of(row), [])
        if row not in rows:
            rows.append(row)

    async def end_unwanted(self, rows: Sequence[int]) -> None:
        """Nothing was ever asked for these rows, and nothing will be."""
        untouched = {row for row in rows if self.may_be_asked(row) and row not in self.admission.in_flight}
        self.admission.withdraw(untouched)
        ids = {row: self._targets[row].id for row in untouched}
        why = {row: f"canceled by {self.run.unwanted[id_]} before it was triggered" for row, id_ in ids.items()}
        await self.record_all([(row, (Ended(ids[row], Outcome.CANCELED, UNWANTED, why[row]),)) for row in untouched])

    async def end_reruns(self, _: None = None) -> None:
        """No build is started again any more: those that wait for that have the outcome that they had."""
        rows = {row for row in self.reruns if row not in self.admission.in_flight}
        self.reruns -= rows
        self.admission.withdraw(rows)
        await self.record_all([(row, ()) for row in rows])

    @property
    def has_idle_reruns(self) -> bool:
        """Whether builds wait to be started again, and none is any more."""
        return self.run.is_closed and any(row not in self.admission.in_flight for row in self.reruns)

    def _is_unwanted(self, row: int) -> bool:
        return bool(self.run.unwanted) and self._targets[row].id in self.run.unwanted

    def cancel_soon(self, row: int) -> None:
        """The row's build is to be canceled, by each process: an earlier one may have died before it asked.

        What was promised and did not happen is asked for again.
        """
        build = self.progress(row).build
        if build is not None and not build.state.is_final and self.now() >= self._canceled.get(row, 0.0) + ASK_AGAIN:
            if row not in self._canceled:
                self.run.stopping_since = self.now()
            self._canceled[row] = self.now()
            self.cancels.append(row)

    def will_not_stop(self, row: int) -> None:
        """The provider has refused to cancel the row's build: it is not asked again."""
        self._canceled[row] = math.inf

    # -- the account --------------------------------------------------------------------------------------------

    def remember(self, principal: str, memory: AccountMemory) -> None:
        """Takes over what earlier processes knew of the account, of this run and of all others."""
        self.principal = principal
        self._proven |= {""} if memory.marker_proven else set()
        history, now = self.run.history, self.now()
        for frozen in (frozen for (account, _), frozen in history.frozen.items() if account == self.name):
            self.budget.freeze(frozen.scope, frozen.until, frozen.cause)
        for known in (known for (account, *_), known in history.learnt.items() if account == self.name):
            if (learnt := read_rule(known.scope, known.rule)) is not None:
                self.budget.learn(learnt, now)

    async def refuse(self, error: AccessRefused) -> None:
        """Stops a whole scope: the account at once, or one owner while others go on."""
        now = self.now()
        until = None if error.retry_after is None else now + error.retry_after
        if error.scope != ACCOUNT:
            if self.admission.is_owner_closed(error.scope.name):
                return
            self.admission.close(error.scope.name)
            await self.append(Frozen(error.scope, until or now + OWNER_REFUSED_FOR, f"{error.code}: {error.reason}"))
            self.notice("owner.refused", account=self.name, scope=error.scope, cause=error.reason)
        elif self.sender.stopped is None:
            self.sender.stopped = error
            await self.append(AccountStopped(error.reason, until, error.code))
            if until is not None:
                await self.run.journal.remember(self.principal, frozen={ACCOUNT: until})
            self.notice("account.stopped", account=self.name, cause=error.reason, code=error.code)
        self.wake.set()

    async def freeze(self, error: RateLimited, patience: float | None = None) -> None:
        """Leaves exactly the refused scope alone for as long as the provider says, or for `patience` seconds.

        What the provider says never shortens our own pauses, which grow with each refusal until it accepts something.
        """
        now, scope = self.now(), error.scope
        if patience is None:
            patience = REPO_PATIENCE if scope.kind == "repo" else ACCOUNT_PATIENCE
        if scope != ACCOUNT:
            scope = Scope(scope.kind, self.budget.name(scope.name))
        times, until = self._refused.get(scope, (0, now))
        if now >= until:  # else it left together with the one that was refused before
            times, until = times + 1, now + backoff(times + 1, self.run.random)
        if error.patience is not None:
            patience = error.patience * 2.0 ** min(times - 1, MOST_DOUBLED)
        until = max(until, now + (patience if error.retry_after is None else error.retry_after))
        self._refused[scope] = times, until
        self.admission.traffic.is_refused |= scope == ACCOUNT
        self.budget.freeze(scope, until, error.reason)
        self.sender.learn(error.learnt, now)
        self.notice("limit.frozen", scope=scope, seconds=round(until - now), cause=error.reason)
        await self.append(Frozen(scope, until, error.reason))

    async def prove_marker(self, row: int) -> None:
        """A request known to be ours carries its marker: from now on `find` may say that one is absent there."""
        if (proof := self.proof(row)) not in self._proven:
            self._proven.add(proof)
            await self.append(MarkerProven(proof))
            await self.run.journal.remember(f"{self.principal} {proof}".rstrip(), marker_proven=True)

    async def notice_gap(self) -> None:
        """A request was found of which the journal does not tell: it went back, or somebody else drove the run."""
        run = self.run
        if not run.went_back:
            run.went_back = True
            self.looked.clear()  # what was not there may have been on its way
            alive = self.lease.last_alive
            known = run.history.made_at if alive is None else alive - run.clocks.steady() + self.now()
            await self.append(JournalWentBack(known, run.since))
