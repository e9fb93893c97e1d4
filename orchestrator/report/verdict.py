"""The verdict on a run: one word, one sentence, and what to do then. Every view and every verb takes them from here.

`verdict` is of a report, whatever state the run is in; `verdict_now` of a snapshot, while it goes on.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.core.course import APPROVAL, DENIED, PAUSE, SOAK
from orchestrator.core.errors import Exit
from orchestrator.core.events import CANCELED
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.stop_rules import FAILED, IN_A_ROW, MAX_FAIL, NEEDS, NOTHING_PASSED, WORSE
from orchestrator.core.times import counted, duration, moment
from orchestrator.report.figures import (
    UNKNOWN,
    Figures,
    be,
    capital,
    done,
    figures,
    how_far,
    how_many_passed,
    trouble,
    were,
)
from orchestrator.report.figures import Ahead as Ahead
from orchestrator.report.figures import running as running_sentence
from orchestrator.report.hints import Hint, for_a_person, going_on
from orchestrator.report.states import State, Verdict
from orchestrator.report.words import epoch, plain, seconds_between, short

if TYPE_CHECKING:
    from orchestrator.engine.engine import Snapshot
    from orchestrator.report.halts import StoppedAccount
    from orchestrator.report.view import Report, RunView


def verdict(report: Report, *, ahead: Ahead = UNKNOWN, is_driven: bool = True) -> Verdict:
    """The verdict on a run as its report tells it.

    Args:
        ahead: what is expected of it, while it goes on.
        is_driven: of a run that goes on: whether a process is at work on it, as far as the caller knows.
    """
    return _Telling(report, ahead, is_driven=is_driven).verdict()


def nothing_selected(reason: str) -> Verdict:
    """The verdict where no run was made, since no target was meant.

    Args:
        reason: a sentence without its full stop: which flag fits none of which targets.
    """
    return Verdict(
        State.EMPTY, "nothing selected", int(Exit.NOT_STARTED), f"{capital(plain(reason))}.", "Nothing was sent."
    )


def verdict_now(snapshot: Snapshot, now: float, *, ahead: Ahead = UNKNOWN) -> Verdict:
    """The verdict on a run that goes on, as the process knows it that drives or watches it.

    Args:
        now: wall clock.
    """
    numbers, phases, outcomes = Counter[str](), snapshot.phases, snapshot.outcomes
    for outcome, number in outcomes.items():
        is_own = outcome in (Outcome.PASSED, Outcome.SKIPPED)
        numbers[outcome.value if is_own else "doubts" if outcome is Outcome.IN_DOUBT else "bad"] += number
    numbers["doubts"] += snapshot.doubts
    going_on = sum(phases.get(phase, 0) for phase in (Phase.REQUESTED, Phase.QUEUED, Phase.RUNNING))
    found = Figures(snapshot.targets, **numbers, unsent=phases.get(Phase.WAITING, 0), going_on=going_on)
    if not snapshot.is_driven:
        return Verdict(State.LEFT, "nobody drives it", None, " ".join(how_far(found)))
    if snapshot.held_by and not going_on:
        return Verdict(State.WAITING, "waiting", None, f"{capital(plain(snapshot.held_by))}. {done(found)}.")
    return Verdict(State.RUNNING, "running", None, running_sentence(found, ahead, now))


_RESUME = re.compile(r"(,? ?(and|then) )?\bresume( in an hour| later)?\.?$")
_SIGNALS = {"SIGINT": "Ctrl-C", "SIGHUP": "The terminal was closed (SIGHUP)"}
_RULES = {
    MAX_FAIL: "stopped by max-fail",
    FAILED: "stopped by failed",
    IN_A_ROW: "stopped",
    WORSE: "stopped: worse than usual",
    NOTHING_PASSED: "stopped: nothing passed",
    NEEDS: "stopped: a need did not pass",
    DENIED: "denied",
}
_REFUSALS = {
    "banned": "banned",
    "bad_token": "token refused",
    "insufficient_scope": "token refused",
    "no_credit": "out of credit",
    "unreachable": "out of reach",
    "tls_refused": "TLS refused",
    "redirected": "redirected",
    "not_the_provider": "wrong URL",
}


class _Telling:
    """One report, told."""

    def __init__(self, report: Report, ahead: Ahead, *, is_driven: bool) -> None:
        self._report, self._ahead, self._is_driven = report, ahead, is_driven
        self._run = report.run
        self._found = figures(report)
        self._lasted = seconds_between(report.run.started_at, report.run.finished_at)

    def verdict(self) -> Verdict:
        run, found = self._run, self._found
        if not found.targets:
            return Verdict(
                State.EMPTY, "nothing selected", run.exit_code, "No target was selected.", "Nothing was sent."
            )
        if run.stopped_by == CANCELED:
            return self._canceled()
        if run.exit_code is None or run.status in ("running", "waiting", "detached"):
            return self._going_on()
        told = {
            Exit.SIGINT: self._interrupted,
            Exit.SIGTERM: self._interrupted,
            Exit.ACCOUNT: self._refused,
            Exit.STOPPED: self._stopped,
            Exit.IN_DOUBT: self._in_doubt,
            Exit.TIMEOUT: self._timeout,
            Exit.FAILED: self._failed,
            Exit.OK: self._all_well,
        }
        code = run.exit_code
        return told[Exit(code)]() if code in told else self._interrupted()

    def _made(self, state: State, word: str, *sentences: str, then: tuple[str, str, str] = ("", "", "")) -> Verdict:
        before, command, after = then
        text = " ".join(part for part in (before, command + ("." if command and after else ""), after) if part)
        return Verdict(state, word, self._run.exit_code, " ".join(one for one in sentences if one), text, command)

    def _with(self, label: str, hint: Hint, after: str = "") -> tuple[str, str, str]:
        """What to do then, by a command; a rehearsal's sandbox is gone, so nothing can go on there."""
        if self._report.is_rehearsal and hint.verb in ("resume", "retry", "watch"):
            return "It was a rehearsal; nothing is left that could go on.", "", ""
        return f"{label}:", hint.typed(self._report.suffix), after

    @property
    def _newest(self) -> str:
        """The run that goes on, of several that are shown as one."""
        return (self._run.merged or (self._run.id,))[-1]

    def _go_on(self, label: str = "Go on", after: str = "") -> tuple[str, str, str]:
        return self._with(label, going_on(self._report, self._newest, ""), after)

    def _doubts(self) -> str:
        number = self._found.doubts
        return f"{be(number)} in doubt: a person has to look." if number else ""

    def _bad(self) -> str:
        found = self._found
        return f"{found.bad:,} did not pass, for {counted(found.causes, 'cause')}." if found.bad else ""

    def _left_out(self) -> str:
        return f"; {were(self._found.skipped)} skipped" if self._found.skipped else ""

    # -- it is over -----------------------------------------------------------------------------------------------

    def _all_well(self) -> Verdict:
        found = self._found
        allowed = f"; {found.bad:,} did not, which fail_on allows" if found.bad else ""
        forecast = self._report.forecast
        took = None if forecast is None else forecast.actual_last_build_seconds
        beside = ""
        if forecast is not None and took is not None:
            beside = f" The {duration(took)} were {duration(forecast.last_build_seconds)} in the forecast."
        sentence = f"{how_many_passed(found)}{allowed}{self._left_out()}."
        return self._made(State.PASSED, "passed", sentence, then=(f"Nothing to do.{beside}", "", ""))

    def _failed(self) -> Verdict:
        found = self._found
        bad = f"; {found.bad:,} did not, for {counted(found.causes, 'cause')}" if found.bad else ""
        opened = f"; {were(found.unsent)} not sent" if found.unsent else ""
        sentence = f"{how_many_passed(found)}{bad}{self._left_out()}{opened}."
        since = self._report.since
        new = f"{be(len(since.newly_failing))} new since {since.before.id}." if since and since.newly_failing else ""
        again = self._with("Build again", Hint("retry", self._newest))
        return self._made(State.FAILED, "did not pass", sentence, new, then=again)

    def _in_doubt(self) -> Verdict:
        then = self._with("First", going_on(self._report, self._newest, ""))
        skipped = f" {were(self._found.skipped)} skipped." if self._found.skipped else ""
        sentences = (f"{how_many_passed(self._found)}.", self._doubts(), self._bad())
        return self._made(State.IN_DOUBT, "in doubt", *sentences, skipped.strip(), then=then)

    def _canceled(self) -> Verdict:
        found, run = self._found, self._run
        by = plain(run.stopped_why or "").removeprefix("asked ")
        first = f"Canceled{f' {by}' if by.startswith('by ') else ''}."
        then = ("", "", "")
        if run.exit_code is not None and found.passed < found.targets:
            then = self._with("Build the others again", Hint("retry", self._newest))
        going = f"{found.going_on:,} of the builds go on." if found.going_on > 1 else ""
        going = "One of the builds goes on." if found.going_on == 1 else going
        sent = f"{found.sent:,} of {found.targets:,} were sent, {found.passed:,} passed."
        return self._made(State.CANCELED, "canceled", first, sent, going, self._doubts(), then=then)

    # -- it was left ----------------------------------------------------------------------------------------------

    def _interrupted(self) -> Verdict:
        signal = plain(self._run.stopped_by or "")
        what = _SIGNALS.get(signal, signal or "It was left")
        after = f" after {duration(self._lasted)}" if self._lasted is not None else ""
        return self._made(
            State.INTERRUPTED, "interrupted", f"{what}{after}.", *how_far(self._found), then=self._go_on()
        )

    def _timeout(self) -> Verdict:
        after = f" after {duration(self._lasted)}" if self._lasted is not None else ""
        first = f"The time that --timeout gives was over{after}."
        return self._made(State.TIMEOUT, "out of time", first, *how_far(self._found), then=self._go_on())

    def _stopped(self) -> Verdict:
        found, run = self._found, self._run
        rule, bound = run.stopped_by or "", plain(run.stopped_at or "")
        word = _RULES.get(rule, f"stopped by {plain(rule)}" if rule else "stopped")
        if bound:
            word = f"stopped by {bound} in a row" if rule == IN_A_ROW else f"{word} {bound}"
        why = short(run.stopped_why or "")
        why = f"{why if rule == DENIED else capital(why)}." if why else ""  # a denial begins with a person's name
        unsent = f"{were(found.unsent)} not sent." if found.unsent else "Everything had been sent."
        label = "Let it open all the same" if rule == DENIED else "Go on all the same"
        return self._made(State.STOPPED, word, why, unsent, self._doubts(), then=self._go_on(label))

    def _refused(self) -> Verdict:
        found, stopped = self._found, self._run.accounts_stopped
        lost = " nothing is lost." if not found.doubts else ""
        sent = f"{found.sent:,} of {found.targets:,} were sent, {found.unsent:,} were not;{lost}".rstrip(";")
        sent = sent if sent.endswith(".") else f"{sent}."
        if not found.unsent:
            sent = " ".join(how_far(found))
        if len(stopped) > 1:
            first = f"{len(stopped)} accounts stopped: {'; '.join(map(self._refusal, stopped))}."
            until = [at for one in stopped if (at := epoch(one.until)) is not None]
            return self._made(
                State.ACCOUNT, f"{len(stopped)} accounts stopped", first, sent, self._doubts(), then=self._later(until)
            )
        if not stopped:
            why = f"{capital(short(self._run.stopped_why or 'an account refused us'))}."
            return self._made(State.ACCOUNT, "account refused", why, sent, self._doubts(), then=self._go_on())
        (one,) = stopped
        end = epoch(one.until)
        remedy = _remedy(one)
        word = _REFUSALS.get(one.code, "account refused")
        first = f"{capital(self._refusal(one))}."
        then = self._later([] if end is None else [end], remedy)
        return self._made(State.ACCOUNT, word, first, sent, self._doubts(), then=then)

    def _refusal(self, one: StoppedAccount) -> str:
        """What became of an account, as a clause."""
        end = epoch(one.until)
        until = f" until {moment(end, self._report.as_of, is_end=True)}" if end is not None else ""
        if one.code == "banned":
            return f"{plain(one.service)} has banned account {plain(one.account)}{until}"
        return f"account {plain(one.account)}: {short(one.cause.partition('; ')[0])}{until}"

    def _later(self, ends: list[int], remedy: str = "") -> tuple[str, str, str]:
        """How it goes on, once the last account may be used again."""
        if not ends:
            return self._go_on(f"{remedy}, then" if remedy else "Mend that, then")
        after = f"After {moment(max(ends), self._report.as_of, is_end=True)}"
        return self._go_on(after, f"{remedy}." if remedy else "")

    # -- it goes on -----------------------------------------------------------------------------------------------

    def _going_on(self) -> Verdict:
        run, found, report = self._run, self._found, self._report
        if run.status == "detached":
            left = " and nobody follows them." if found.going_on > 1 else ""
            told = " ".join(how_far(found))
            told = told.replace("go on.", f"go on,{left}", 1) if left else told
            return self._made(State.DETACHED, "detached", told, then=self._with("Follow it", Hint("watch", run.id)))
        if run.status == "waiting" or (run.waits_for is not None and not found.going_on):
            return self._waiting()
        if not self._is_driven:
            return self._made(State.LEFT, "nobody drives it", "Its process died.", *how_far(found), then=self._go_on())
        quiet = self._quiet()
        if quiet and not found.going_on:
            return self._made(State.WAITING, "waits for quiet hours to end", quiet, f"{done(found)}.")
        told_now = running_sentence(found, self._ahead, report.as_of)
        as_of = (f"As of {moment(report.as_of, report.as_of)}.", "", "")
        return self._made(State.RUNNING, "running", told_now, quiet or self._halted(), then=as_of)

    def _halted(self) -> str:
        """Why nothing more is sent of a run whose builds are still followed."""
        run = self._run
        if not self._found.unsent or run.stopped_by is None:
            return ""
        if not run.accounts_stopped:
            return f"Nothing more is sent: {short(run.stopped_why or run.stopped_by)}."
        return f"{capital('; '.join(map(self._refusal, run.accounts_stopped)))}."

    def _quiet(self) -> str:
        end = epoch(self._run.waits_until) if self._run.waits_for is None else None
        if end is None or not self._found.unsent:
            return ""
        return f"Nothing is sent until {moment(end, self._report.as_of, is_end=True)}, when quiet hours end."

    def _waiting(self) -> Verdict:
        run, far = self._run, f"{done(self._found)}."
        hint = next(for_a_person(self._report), None)
        if run.waits_for == PAUSE:
            by = f" by {plain(run.paused_by)}" if run.paused_by else ""
            then = ("", "", "") if hint is None else self._with("Let it go on", hint)
            return self._made(State.WAITING, "paused", f"Paused{by}.", far, *trouble(self._found), then=then)
        name = _next_wave(run)
        if run.waits_for == SOAK:
            end = epoch(run.waits_until)
            opens = f" at {moment(end, self._report.as_of, is_end=True)}" if end is not None else ""
            first = f"{name} opens{opens}, when the soak is over."
            return self._made(State.WAITING, "soaks", first, far, *trouble(self._found))
        then = ("", "", "") if hint is None else self._with("Open it", hint)
        word = "waits for approval" if run.waits_for == APPROVAL else "waiting"
        first = f"{name} waits for a person to approve it."
        return self._made(State.WAITING, word, first, far, *trouble(self._found), then=then)


def _next_wave(run: RunView) -> str:
    wave = next((one for one in run.waves if one.opened_at is None), None)
    if wave is None:
        return "The next wave"
    return f"Wave {wave.wave}" + (f" ({plain(wave.name)})" if wave.name != str(wave.wave) else "")


def _remedy(one: StoppedAccount) -> str:
    """What the provider's cause advises in its last clause, without the resume, which follows anyway."""
    advice = _RESUME.sub("", short(one.cause.rpartition("; ")[2]) if "; " in one.cause else "")
    return "" if advice.startswith("nothing ") else capital(advice)
