"""The rules for which a trigger may have to wait, each written once. A new one is a class, named in `admission.RULES`.

A rule only ever answers with a `Wait`. The admission asks all of them in order; the engine sleeps on the answer, the
forecast advances its clock by it, and `why`, the reports and the live view print it. Time is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from orchestrator.core.concurrency import quiet_until
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import ACCOUNT, Account
from orchestrator.core.next_step import DOUBTS_IN_A_ROW, backoff
from orchestrator.core.options import Options
from orchestrator.core.times import clock
from orchestrator.limits.budget import Budget

if TYPE_CHECKING:
    from orchestrator.limits.admission import Admission

ROOM_AGAIN = 0.25  # seconds after which a target asks again whether an answer has made room in its owner's limit


class Wait(Struct, frozen=True):
    """Why nothing, or not this target, may be triggered now, and until when.

    Args:
        until: when it makes sense to ask again (the admission's clock); infinity: once a call is answered or a build
            ends.
        rule: its short name, the same for all that it binds: `triggers 40/30s`, `in_flight 20`; empty: none binds.
        place: the repository or owner that it holds back; empty: the whole account, or what its name says.
        detail: more for a person.
        ends: the wall clock at which the rule itself lets go, where it goes by that.
        is_certain: False where only the process at work can tell whether it holds.
        is_limit: whether a limit holds it back, and not only how calls fare at the moment, or a freeze.
    """

    until: float
    rule: str
    place: str = ""
    detail: str = ""
    ends: float | None = None
    is_certain: bool = True
    is_limit: bool = True

    def __str__(self) -> str:
        rule = f"{self.place}: {self.rule}" if self.place else self.rule
        return f"{rule}: {self.detail}" if self.detail else rule


NOTHING = Wait(math.inf, "")


class Terms(Struct, frozen=True):
    """What the rules of an account are made of.

    Args:
        costs: the names of the limits that a trigger counts against.
        wall: the wall clock at an instant of the admission's clock.
        options: what the run was made with, and what the process that drives it was given.
        polls_queues: whether the provider is asked how long queues are.
    """

    account: Account
    budget: Budget
    costs: tuple[str, ...]
    wall: Callable[[float], float]
    options: Options = Options()
    polls_queues: bool = False


class Traffic:
    """How calls of the account fare at the moment; kept up to date by what sends them.

    Attributes:
        under_way: triggers that may have left and have no answer yet.
        doubts_in_a_row: how many of the last ones lost their answer.
        silent_since: when the first of those did; None where the last one was answered.
        is_refused: whether the account was refused more triggers, and none was accepted since.
        trigger_after: until when no trigger leaves, since none was answered, or the provider asks for patience.
        look_after: the same of looks.
        is_reachable: whether the last call that was tried left this machine.
        pause_until: until when nothing is sent, since the provider was out of reach.
        connections: calls that may be under way at once, as far as this machine gives connections for them.
        writes_waiting: calls that change something and wait for their permit; they go before triggers.
        refused: until when the state refuses triggers of the account, since other processes used a limit up, and which.
    """

    def __init__(self) -> None:
        self.under_way = self.writes_waiting = 0
        self.is_reachable = True
        self.connections = math.inf
        self.pause_until = self.look_after = -math.inf
        self.refused = (-math.inf, "")
        self.answered()

    def answered(self) -> None:
        """A trigger was answered, whatever the answer says."""
        self.doubts_in_a_row = self._pauses = 0
        self.silent_since: float | None = None
        self.is_refused = False
        self.trigger_after = -math.inf

    def unanswered(self, now: float, random: Random) -> None:
        """A trigger's answer was lost: from some on each costs a longer pause, those that left together one."""
        self.doubts_in_a_row += 1
        self.silent_since = now if self.silent_since is None else self.silent_since
        if self.doubts_in_a_row >= DOUBTS_IN_A_ROW and now >= self.trigger_after:
            self._pauses += 1
            self.trigger_after = now + backoff(self._pauses, random)


class Rule:
    """One reason to wait. A rule overrides what it needs; what it does not override costs nothing."""

    def account(self, now: float) -> Wait | None:
        """Why nothing of the account may be triggered now."""

    def target(self, row: int, now: float) -> Wait | None:
        """Why this row may not be triggered now.

        A wait with a place is over at its `until`; one without a place ends when the rule gives the turn itself.
        """

    def explain(self, row: int, now: float) -> Iterator[Wait]:
        """Everything that this rule has against the row now, for people."""
        found = (self.account(now), self.target(row, now))
        yield from (wait for wait in found if wait is not None)

    def taken(self, row: int, now: float) -> None:
        """The row's trigger leaves."""

    def moved(self, row: int, now: float) -> None:
        """The row has left, or waits for something else: the next one under the same rule may have its turn."""

    def entered(self, row: int) -> None:
        """From now on the row's build may be queued or running."""

    def left(self, row: int) -> None:
        """The row's build is neither queued nor running any more."""


def rules_of(
    kinds: Sequence[Callable[[Terms, Admission], Rule | None]], terms: Terms, admission: Admission
) -> list[Rule]:
    """The rules of these kinds that are in force for an account."""
    return [rule for make in kinds if (rule := make(terms, admission)) is not None]


class Calls(Rule):
    """Triggers stand back while calls fare badly, and never take more connections than there are."""

    def __init__(self, terms: Terms, admission: Admission) -> None:
        self._traffic = admission.traffic
        self._connections = terms.account.connections
        self._at_once = terms.account.triggers_at_once or self._connections
        self._url = terms.account.url

    def account(self, now: float) -> Wait | None:
        traffic = self._traffic
        if traffic.refused[0] > now:
            return Wait(*traffic.refused)
        until, why = self._fares(now)
        return Wait(until, why, is_limit=False) if why else None

    def _fares(self, now: float) -> tuple[float, str]:
        """Until when triggers stand back, and why; empty where nothing is in their way."""
        traffic, connections = self._traffic, min(self._connections, self._traffic.connections)
        if traffic.under_way >= connections:
            return math.inf, f"connections {connections:.0f}"
        if traffic.under_way >= self._at_once:
            return math.inf, f"triggers_at_once {self._at_once}"
        if traffic.writes_waiting:
            return math.inf, "a call that changes something goes first"
        is_braked = traffic.doubts_in_a_row >= DOUBTS_IN_A_ROW or traffic.is_refused or not traffic.is_reachable
        if is_braked and traffic.under_way:
            return math.inf, "an answer: one trigger at a time until there is one"
        if traffic.trigger_after > now:
            return traffic.trigger_after, f"{self._url} to answer triggers again"
        return (traffic.pause_until, f"{self._url} to be in reach") if traffic.pause_until > now else (0.0, "")


class QuietHours(Rule):
    """Hours in which no trigger is sent, by the wall clock as it is now."""

    def __init__(self, terms: Terms) -> None:
        self._hours = terms.account.concurrency.quiet
        self._wall = terms.wall
        self._loud = -1.0  # a minute outside quiet hours, which begin at whole ones

    @classmethod
    def of(cls, terms: Terms, admission: Admission) -> QuietHours | None:
        """The rule, where there are quiet hours."""
        return cls(terms) if terms.account.concurrency.quiet and not terms.options.ignore_quiet_hours else None

    def account(self, now: float) -> Wait | None:
        wall = self._wall(now)
        if wall // 60.0 == self._loud:
            return None
        until, quiet = quiet_until(self._hours, wall)
        if quiet is None:
            self._loud = wall // 60.0
            return None
        return Wait(now + until - wall, f"quiet hours {quiet}", detail=f"no trigger before {clock(until)}", ends=until)

    def explain(self, row: int, now: float) -> Iterator[Wait]:
        try:
            yield from super().explain(row, now)
        except ValueError as error:  # the run was made on a machine that knows more time zones
            yield Wait(math.inf, "quiet hours", detail=str(error), is_certain=False)


class InFlight(Rule):
    """At most so many builds of the account queued or running, over all owners."""

    def __init__(self, most: int, admission: Admission) -> None:
        self._most = most
        self._admission = admission

    @classmethod
    def of(cls, terms: Terms, admission: Admission) -> InFlight | None:
        """The rule, where the account or `-j` says a number: the smaller one holds."""
        most = min((n for n in (terms.account.in_flight, terms.options.in_flight) if n is not None), default=None)
        return None if most is None else cls(most, admission)

    def account(self, now: float) -> Wait | None:
        count = len(self._admission.in_flight)
        if count < self._most:
            return None
        return Wait(math.inf, f"in_flight {self._most}", detail=ours(count))


class RateLimits(Rule):
    """So many triggers in a period, for the account, an owner or a repository; and scopes that are left alone."""

    def __init__(self, terms: Terms, admission: Admission) -> None:
        self._budget = terms.budget
        self._costs = terms.costs
        self._admission = admission

    @classmethod
    def of(cls, terms: Terms, admission: Admission) -> RateLimits:
        """The rule; where limits are counted by owner, with a line for each."""
        by_owner = any(limit.scope == "owner" for limit in terms.budget.limits.values())
        return RatesOfOwners(terms, admission) if by_owner else cls(terms, admission)

    def account(self, now: float) -> Wait | None:
        delay, rule = self._budget.wait_account(self._costs, now)
        return Wait(now + delay, rule, is_limit=self._budget.is_limit(rule)) if delay > 0.0 else None

    def target(self, row: int, now: float) -> Wait | None:
        repo = self._admission.repo_of(row)
        delay, rule = self._budget.wait_repo(self._costs, repo, now)
        if delay <= 0.0:
            return None
        # an owner's limit may wait for the answer to a call for another repository, which wakes no row here
        until = now + (ROOM_AGAIN if delay == math.inf else delay)
        return Wait(until, rule, repo, is_limit=self._budget.is_limit(rule))

    def explain(self, row: int, now: float) -> Iterator[Wait]:
        repo, owner = self._admission.repo_of(row), self._admission.owner_of(row)
        delay, cause = self._budget.frozen(repo, now)
        if delay > 0.0:
            yield Wait(now + delay, cause, repo)
        for limit, wait in self._budget.waits(self._costs, repo, now):
            place = "" if limit.scope == ACCOUNT else owner if limit.scope == "owner" else repo
            yield Wait(now + wait, str(limit), place)


class RatesOfOwners(RateLimits):
    """The same where each owner has limits of its own: its rows wait in one line, of which one at a time is asked."""

    def __init__(self, terms: Terms, admission: Admission) -> None:
        super().__init__(terms, admission)
        self._rules = {str(limit) for limit in terms.budget.limits.values() if limit.scope == "owner"}
        self._held = -1  # the row that was just put into its owner's line

    def target(self, row: int, now: float) -> Wait | None:
        wait = super().target(row, now)
        if wait is None or wait.rule not in self._rules:
            return wait
        self._held = row
        return replace(wait, place=self._admission.owner_of(row))

    def moved(self, row: int, now: float) -> None:
        if row != self._held:
            self._admission.give_turn(self._admission.owner_of(row))
        self._held = -1


def ours(count: int) -> str:
    """The builds of this run that count, for people."""
    return f"{count} builds of this run are queued or running"
