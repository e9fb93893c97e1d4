"""Drives or follows a run, to its end or an interruption."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import anyio

from orchestrator.app.context import Context, Observer, Silent
from orchestrator.app.hooks import Hooks
from orchestrator.app.lookout import Lookout
from orchestrator.app.onlookers import LOOK_EVERY, LOOKS_PER_WISH, WISHES, let_go
from orchestrator.app.plan import Choices
from orchestrator.app.which import exact
from orchestrator.core.errors import Exit, JournalError, LeaseLost, UsageError, flat
from orchestrator.core.frozen import Struct, collect_now, replace
from orchestrator.core.history import History, accounts_in, exit_code
from orchestrator.core.model import Account, Phase
from orchestrator.core.options import Options
from orchestrator.engine.counts import Counts
from orchestrator.engine.engine import Engine
from orchestrator.engine.snapshot import taken
from orchestrator.forecast.durations import Times
from orchestrator.journal.history import facts_of, load, made_in, read_on
from orchestrator.journal.port import Journal
from orchestrator.journal.process import this_process, up
from orchestrator.report import EVENTS
from orchestrator.report.hints import onwards
from orchestrator.report.view import Report, view

PROGRESS_EVERY = 0.25  # seconds between two snapshots of the engine for the observer
LARGE = 1000  # targets from which on it pays to free what planning has dropped
LATER = 50  # later runs that are looked through for the files that they write
READ_EVERY = 1.0  # seconds between two reads of a journal that another process writes
UNATTENDED = 3  # such reads in a row that found no driver, before that is told: one may be about to take it up


class Ended(Struct, frozen=True):
    """How a process left a run.

    Args:
        files: reports that are to be written, path to format.
        spared: files of these, each with the later run to which it belongs by now: they are left as they are.
    """

    code: Exit
    report: Report
    files: Mapping[str, str]
    spared: Mapping[str, str] = {}


class Drive:
    """One run under way in this process; what `choices` leave out is as the run was made.

    Args:
        follows: trigger nothing, and only read the journal while another process drives the run.
        looks_on: leave the run to whoever wants to drive it, and what only a driver may do to them; else see to all
            that is left to do without triggering.
        history: the run's, where it was loaded already.
        is_new: whether this process made the run.
        times: how long builds took before it, where that was read already.

    Attributes:
        left: how the run was left where its state could not be used any more, so that its reports can be written.
    """

    def __init__(
        self,
        run: str,
        journal: Journal,
        choices: Choices,
        context: Context,
        *,
        follows: bool = False,
        looks_on: bool = False,
        history: History | None = None,
        is_new: bool = False,
        times: Times | None = None,
    ) -> None:
        self._times = times
        self._is_new = is_new
        self.run_id = run
        self._journal = journal
        self._choices = choices
        self._context = context
        self._follows = follows or looks_on
        self._looks_on = looks_on
        self._was_handed_over = False
        self._history = history
        self._engine: Engine | None = None
        self._reading: anyio.CancelScope | None = None
        self._signal = ""
        self.left: Ended | None = None

    async def run(self) -> Ended:
        """Drives or follows until the run's end, an interruption, or until nothing is left to do.

        Raises:
            LeaseLost: another process drives the run, and this one was not only to follow it.
            JournalError: the state cannot be used.
            UsageError: a secret cannot be resolved.
        """
        if not self._follows:
            await let_go(self.run_id, self._journal, self._context, self._history)
            return await self._drive()
        while True:
            row = await exact(self._journal, self.run_id)
            if row is None:
                raise JournalError(f"run {self.run_id} was taken out of the state meanwhile")
            if row.ended_at is not None:
                history = await load(self._journal, self.run_id)
                return await ended(self.run_id, history, row.exit_code, self._choices, self._context, self._journal)
            if not row.driven and await self._may_take_up():
                try:
                    left = await self._drive_on()
                except LeaseLost:  # another process was quicker: then it is enough to read
                    self._context.observer.notice("watch.looks_on", run=self.run_id)
                else:
                    if not self._was_handed_over:
                        return left
                    await self._until_driven()
            history = await self._read_on()
            if self._has_settled(history):
                code = exit_code(history, history.options.failures, only=self._choices.drives)
                return await ended(self.run_id, history, code, self._choices, self._context, self._journal)
            if self._signal:
                code = Exit.SIGINT if self._signal == "SIGINT" else Exit.SIGTERM
                return await ended(self.run_id, history, code, self._choices, self._context, self._journal)

    def interrupt(self, signal: str) -> None:
        """Leaves the run: the first time once the calls under way are answered, the second time at once."""
        self._signal = self._signal or signal
        if self._engine is not None:
            self._engine.interrupt(signal)
        if self._reading is not None:
            self._reading.cancel()

    # -- driving ------------------------------------------------------------------------------------------------

    async def _may_take_up(self) -> bool:
        """Whether a run that nobody drives is to be taken up from here; an onlooker leaves what may be triggered."""
        self._history = await load(self._journal, self.run_id)
        refuse_rehearsal(self._history)
        return not (self._looks_on and self._history.needs_a_driver)

    async def _drive_on(self) -> Ended:
        """Takes up a run that nobody drives; triggers nothing."""
        resolve(self._history or await load(self._journal, self.run_id), self._context)
        return await self._drive()

    async def _drive(self) -> Ended:
        context, run = self._context, self.run_id
        history = self._history or await load(self._journal, run)
        quiet = self._choices.ignore_quiet_hours or context.sandbox  # a rehearsal disturbs nobody
        given = {"ignore_quiet_hours": quiet, "trigger": not self._follows, "looks_on": self._looks_on}
        rates = {name or "": rate for name, rate in context.rates.items()}
        options = Options.over(history.options, self._choices, rates=rates, **given)
        if len(history.targets) >= LARGE:
            collect_now()
        hooks = Hooks.of(run, history, options, context)
        engine = self._engine = Engine(
            run,
            self._journal,
            context.connect if hooks is None else hooks.connect,
            options,
            now=context.now,
            ticks=context.ticks,
            process=this_process(),
            up=context.up or up,
            random=context.random,
            observer=hooks or context.observer,
            history=history,
            is_new=self._is_new,
            redact=context.redactor.text,
        )
        del history  # the engine holds it while it drives, and nothing else does afterwards
        self._history = None
        if self._signal:
            engine.interrupt(self._signal)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._show_progress, engine, hooks or context.observer)
                if hooks is not None:
                    tasks.start_soon(hooks.run)
                # A task of its own: what its calls wait for wakes the engine alone, and not everybody who awaits it.
                async with anyio.create_task_group() as driving:
                    driving.start_soon(engine.run)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if engine.history is not None and all(_is_of_the_state(error) for error in flat(group)):
                self.left = await self._as_known(engine.history)
                if hooks is not None:
                    await hooks.left(self.left.report, self.left.code, self._journal)
            raise sole(group) from None
        finally:
            self._engine = None
        known, code, self._was_handed_over = engine.history, engine.code, engine.is_handed_over
        del engine  # its rows are not needed for the report, and may be many
        left = await ended(run, known or await load(self._journal, run), code, self._choices, context, self._journal)
        if hooks is not None:
            await hooks.left(left.report, left.code, self._journal)
        return left

    async def _as_known(self, history: History) -> Ended:
        """How the run was left when its state could not be used any more: what was journaled until then."""
        try:
            return await ended(self.run_id, history, Exit.STATE, self._choices, self._context, self._journal)
        except JournalError:  # it cannot be read either: then nobody tells which files belong to later runs
            files = {**history.options.reports, **self._choices.reports}
            return Ended(Exit.STATE, view(self.run_id, history, self._context.now()), files)

    async def _show_progress(self, engine: Engine, observer: Observer) -> None:
        now = self._context.now
        eyes: Lookout | None = None
        while not isinstance(observer, Silent):
            if eyes is None and engine.history is not None:
                eyes = await self._lookout(engine.history)
            if eyes is not None:
                await eyes.look(now())
            snapshot = engine.snapshot(None if eyes is None else eyes.outlook)
            if snapshot is not None:
                observer.progress(snapshot)
            await anyio.sleep(PROGRESS_EVERY)

    async def _lookout(self, history: History) -> Lookout:
        """Who looks ahead in the run, with what is known of earlier ones."""
        return await Lookout.on(self.run_id, history, self._journal, self._context, self._times)

    # -- following ----------------------------------------------------------------------------------------------

    async def _read_on(self) -> History:
        """Reads what another process journals, until that ends or leaves the run, or this one is interrupted.

        An onlooker waits for one that drives the run as long as it needs that.
        """
        history, unattended = await load(self._journal, self.run_id), 0
        counts, eyes, now = Counts(history), await self._lookout(history), self._context.now
        with anyio.CancelScope() as self._reading:
            if self._signal:
                return history
            while (row := await exact(self._journal, self.run_id)) and row.ended_at is None:
                await read_on(self._journal, self.run_id, history)
                unattended = 0 if row.driven else unattended + 1
                if unattended and not (self._looks_on and history.needs_a_driver):
                    break
                if unattended == UNATTENDED:
                    self._tell_unattended(history)
                is_driven = unattended < UNATTENDED
                await eyes.look(now())
                found = taken(self.run_id, history, counts, now(), eyes.outlook, is_driven=is_driven)
                self._context.observer.progress(found)
                if self._has_settled(history):
                    break
                await anyio.sleep(READ_EVERY)
        self._reading = None
        return history

    def _tell_unattended(self, history: History) -> None:
        """That nobody drives the run, what that leaves undone, and the command that goes on."""
        left = sum(history.of(target.id).phase is Phase.WAITING for target in history.targets)
        next_ = onwards(self.run_id, history)
        self._context.observer.notice("run.unattended", run=self.run_id, not_triggered=left, next=next_)

    async def _until_driven(self) -> None:
        """Leaves the one who wants to drive the run the time to take it up."""
        for _ in range(LOOKS_PER_WISH * WISHES):
            row = await exact(self._journal, self.run_id)
            if self._signal or row is None or row.driven or row.ended_at is not None:
                return
            await anyio.sleep(LOOK_EVERY)

    def _has_settled(self, history: History) -> bool:
        """Whether only some targets were of interest, and all of these are done."""
        drives = self._choices.drives
        return drives is not None and all(history.of(id_).is_done for id_ in drives)


async def ended(
    run: str, history: History, code: int | None, choices: Choices, context: Context, journal: Journal
) -> Ended:
    """How a run was left, with its report."""
    kept = {path: form for path, form in history.options.reports.items() if path not in choices.reports}
    there = _existing(kept)
    spared = await _of_later_runs(run, there, journal) if there else {}
    files = {path: form for path, form in {**kept, **choices.reports}.items() if path not in spared}
    found = view(run, history, context.now())
    if context.wants_facts or EVENTS in files.values():
        found = replace(found, facts=await facts_of(journal, run))
    return Ended(Exit(code or 0), found, files, spared)


def _existing(paths: Collection[str]) -> set[str]:
    return {path for path in paths if Path(path).exists()}


async def _of_later_runs(run: str, files: Collection[str], journal: Journal) -> dict[str, str]:
    """Those of the files that runs made after this one write, too, each with such a run."""
    found: dict[str, str] = {}
    rows = await journal.runs()
    later = [row.id for row in rows[: next((n for n, row in enumerate(rows) if row.id == run), 0)]]
    for other in later[-LATER:]:
        if (made := await made_in(journal, other)) is not None:
            found |= dict.fromkeys(made.options.reports.keys() & files, other)
    return found


def _is_of_the_state(error: BaseException) -> bool:
    """Whether nothing could be recorded any more, though no other process took over."""
    return isinstance(error, JournalError) and not isinstance(error, LeaseLost)


def sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group, so that callers may catch it by its kind; the group itself when there are more."""
    found = list(flat(group))
    return found[0] if len(found) == 1 else group


# -- a run that was made before ---------------------------------------------------------------------------------


def accounts_of(history: History) -> list[Account]:
    """The accounts that the run's targets use, as they were journaled."""
    used = {target.account for target in history.targets}
    return [account for name, account in accounts_in(history.made).items() if name in used]


def resolve(history: History, context: Context) -> None:
    """Resolves every secret of a run that was made before.

    Raises:
        UsageError: one cannot be resolved.
    """
    context.resolve(accounts_of(history), history.targets)


def refuse_rehearsal(history: History) -> None:
    """A run against the built-in sandbox cannot go on: what it had triggered went with its process.

    Raises:
        UsageError: it is one.
    """
    if history.options.sandbox:
        again = onwards("", history)
        way = "start a new one" if again is None else f"rehearse it again with `{again.command}`"
        raise UsageError(
            "this was a rehearsal with --sandbox, and its sandbox ended with its process, so nothing of it can go on: "
            f"{way}. One that outlives a run is served as docs/sandbox.md tells under 'Serve it'"
        )
