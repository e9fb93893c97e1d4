"""Turns what happens in a run into log lines: the facts as they become durable, and what the engine tells besides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.cli.log import Log
from orchestrator.core.events import (
    Absent,
    AccountStopped,
    Canceling,
    Doubted,
    Ended,
    Event,
    Frozen,
    Intended,
    LimitLearnt,
    MarkerProven,
    Refused,
    Released,
    Requested,
    Restarted,
    Sighted,
    Skipped,
    Stopped,
    Withdrawn,
)
from orchestrator.core.model import Outcome
from orchestrator.journal.port import Entry, Journal, Lease
from orchestrator.report.words import clock

# What the journal's facts tell as well; said once.
_TOLD_BY_FACTS = frozenset(
    {
        "account.stopped",
        "limit.frozen",
        "owner.refused",
        "request.accepted",
        "request.found",
        "run.stopped",
        "target.ended",
        "trigger.absent",
        "trigger.in_doubt",
    }
)
_MAY_REPEAT = frozenset({"account.hello_failed", "look.failed", "trigger.unreachable"})
_WARNINGS = frozenset({"account.hello_failed", "cancel.failed", "look.failed", "provider.warning", "queue.unread"})
_INFOS = frozenset({"quiet.began", "run.canceled", "trigger.unreachable"})
PATIENCE = 30.0  # seconds for which the same trouble is not told again
DOUBT = "its request is looked for; it is asked again only when it is certainly not there"


class Observer:
    """Writes the log of a run.

    Args:
        now: the clock that keeps repeated trouble apart.
    """

    def __init__(self, log: Log, now: Callable[[], float]) -> None:
        self._log = log
        self._now = now
        self._urls: dict[str, str] = {}
        self._quiet_until: dict[str, float] = {}
        self._in_doubt: set[str] = set()

    def notice(self, name: str, **fields: Any) -> None:
        """What the engine tells besides the facts."""
        if name in _TOLD_BY_FACTS:
            return
        if name in _MAY_REPEAT and not self._is_new(name):
            self._log.debug(name, **fields)
        elif name in _WARNINGS:
            self._log.warning(name, **fields)
        elif name in _INFOS:
            self._log.info(name, **fields)
        else:
            self._log.debug(name, **fields)

    def fact(self, account: str, event: Event) -> None:
        """One fact, as soon as it is durable."""
        log = self._log
        match event:
            case Ended(target=target, outcome=outcome, reason=reason):
                self._ended(target, outcome, reason)
            case Refused(target=target, code=code, reason=reason):
                log.warning("target.ended", target=target, outcome="rejected", code=code, reason=reason)
            case Skipped(target=target, reason=reason):
                log.info("target.ended", target=target, outcome="skipped", reason=reason)
            case Intended(target=target, attempt=attempt):
                log.debug("trigger.intended", target=target, attempt=attempt)
            case Requested(target=target, id=id_, how=how):
                self._in_doubt.discard(target)
                log.debug("request.accepted", target=target, id=id_, how=how)
            case Sighted(target=target, build=build):
                if build.url:
                    self._urls[target] = build.url
                log.debug("build.sighted", target=target, build=build.id, state=build.native, url=build.url)
            case Doubted(target=target, cause=cause):
                self._doubted(target, cause)
            case Absent(target=target, evidence=evidence):
                self._in_doubt.discard(target)
                log.debug("trigger.absent", target=target, evidence=evidence)
            case Withdrawn(target=target, cause=cause):
                log.debug("trigger.withdrawn", target=target, cause=cause)
            case Canceling(target=target, note=note):
                (log.warning if note else log.debug)("build.canceling", target=target, note=note or None)
            case Restarted(target=target, build=build_id):
                log.debug("build.restarted", target=target, build=build_id)
            case Released(target=target):
                log.debug("target.released", target=target)
            case Stopped(rule=rule, arithmetic=arithmetic):
                log.error("run.stopped", rule=rule, why=arithmetic) if rule else log.info("run.goes_on", why=arithmetic)
            case AccountStopped(cause=cause, until=until):
                log.error("account.stopped", account=account, cause=cause, resume_after=clock(until) or None)
            case Frozen(scope=scope, until=until, cause=cause):
                log.info("limit.frozen", account=account, scope=scope, until=clock(until), cause=cause)
            case LimitLearnt(scope=scope, rule=rule):
                log.debug("limit.learnt", account=account, scope=scope, rule=rule)
            case MarkerProven():
                log.debug("marker.proven", account=account)
            case _:
                log.debug(_dotted(event.kind, account), account=account or None)

    def _doubted(self, target: str, cause: str) -> None:
        """A lost answer is no verdict: one line now and then tells what happens, how many there are, and why."""
        self._in_doubt.add(target)
        tell = self._log.warning if self._is_new("trigger.in_doubt") else self._log.debug
        tell("trigger.in_doubt", target=target, cause=cause, others=len(self._in_doubt) - 1 or None, next=DOUBT)

    def _ended(self, target: str, outcome: Outcome, reason: str) -> None:
        url = self._urls.pop(target, None)
        self._in_doubt.discard(target)
        if outcome is Outcome.PASSED:
            self._log.debug("target.ended", target=target, outcome=outcome.value, url=url)
        else:
            self._log.warning("target.ended", target=target, outcome=outcome.value, reason=reason, url=url)

    def _is_new(self, name: str) -> bool:
        now = self._now()
        if now < self._quiet_until.get(name, 0.0):
            return False
        self._quiet_until[name] = now + PATIENCE
        return True


def _dotted(kind: str, account: str) -> str:
    """`wave.opened`, `run.interrupted`: names in the log have a subject."""
    return kind.replace("_", ".", 1) if "_" in kind else f"{'account' if account else 'run'}.{kind}"


class Watched:
    """A journal that tells every fact to an observer once it is durable; all else is the journal's own."""

    def __init__(self, journal: Journal, observer: Observer) -> None:
        self._journal = journal
        self._observer = observer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> Sequence[Entry]:
        """See `Journal.append`."""
        entries = await self._journal.append(lease, events, at)
        for event in events:
            self._observer.fact(lease.account, event)
        return entries
