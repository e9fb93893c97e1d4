"""What a process tells others of the run that it drives: messages to people, a file of metrics, a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from orchestrator.app.context import Context
from orchestrator.core.course import APPROVAL
from orchestrator.core.errors import Exit, JournalError
from orchestrator.core.events import RunEnded
from orchestrator.core.history import History
from orchestrator.core.model import CHANGED
from orchestrator.core.options import Options
from orchestrator.engine.engine import Snapshot
from orchestrator.hooks import metrics, traces
from orchestrator.hooks.messages import Moments
from orchestrator.hooks.notify import Sender, webhook
from orchestrator.journal.port import Entry, Journal
from orchestrator.report import write
from orchestrator.report.hints import Hint
from orchestrator.report.view import Report


class Hooks:
    """Passes everything on to the observer of a drive, and tells what is to be told; it changes nothing of the run.

    Args:
        options: of the run as it is driven here.

    Attributes:
        connect: the way to accounts that the drive is to take.
    """

    def __init__(self, run: str, history: History, options: Options, context: Context) -> None:
        self._run = run
        self._wanted = options.notify
        self._context = context
        self._observer = context.observer
        self._moments = Moments(run, history)
        self._sender = Sender(options.notify, context.secrets, webhook(context.elsewhere), context.observer.notice)
        self._file = options.metrics_file
        self._calls = metrics.Calls()
        self._made_at = history.made_at or context.now()
        self._has_ended = False
        self._snapshot: Snapshot | None = None
        self._is_traced = _is_traced(context)
        is_counted = self._is_traced or self._file is not None
        self.connect = self._calls.over(context.connect) if is_counted else context.connect

    @classmethod
    def of(cls, run: str, history: History, options: Options, context: Context) -> Hooks | None:
        """Those of a drive; None where nobody wants to be told anything."""
        is_wanted = options.notify or options.metrics_file is not None or _is_traced(context)
        return cls(run, history, options, context) if is_wanted else None

    def fact(self, entry: Entry) -> None:
        """An event, once it is durable."""
        self._observer.fact(entry)
        self._has_ended = self._has_ended or isinstance(entry.event, RunEnded)
        self._sender.send(self._moments.fact(entry))

    def notice(self, name: str, **fields: Any) -> None:
        """What is no event."""
        self._observer.notice(name, **fields)
        if name == "run.waits" and fields.get("on") == APPROVAL:
            self._sender.send(self._moments.waits(str(fields["waits"]), Hint("approve", self._run).line()))

    def progress(self, snapshot: Snapshot) -> None:
        """How the run stands."""
        self._snapshot = snapshot
        self._observer.progress(snapshot)

    async def run(self) -> None:
        """Sends and writes what comes, until it is canceled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._sender.run)
            while self._file is not None:
                if (now := self._snapshot) is not None:
                    known = {outcome.value: number for outcome, number in now.outcomes.items()}
                    self._write({**known, metrics.OPEN: now.targets - sum(known.values())}, None)
                await anyio.sleep(metrics.EVERY)

    async def left(self, report: Report, code: Exit, journal: Journal) -> None:
        """Tells how the run was left, and all that was not told yet."""
        self._write(report.totals, int(code))
        wanted = {on for one in self._wanted for on in one.on}
        before = await _exit_before(report, journal) if CHANGED in wanted else None
        self._sender.send(self._moments.left(report, code, before, wanted))
        await self._sender.finish()
        if self._has_ended and self._is_traced:
            await self._trace(report)

    def _exported(self, report: Report) -> int:
        spans = traces.export(report, self._context.environ)
        if self._context.environ.get("OTEL_METRICS_EXPORTER") != "none":
            traces.export_metrics(report, self._calls.counts, self._context.environ)
        return spans

    def _write(self, outcomes: Mapping[str, int], code: int | None) -> None:
        if self._file is None:
            return
        seconds = max(0.0, self._context.now() - self._made_at)
        try:
            write(metrics.text(outcomes, self._calls.counts, seconds, code), self._file)
        except OSError as error:
            self.notice("metrics.unwritten", file=self._file, error=error.strerror or str(error))

    async def _trace(self, report: Report) -> None:
        with anyio.move_on_after(traces.PATIENCE * 2):
            try:
                spans = await anyio.to_thread.run_sync(self._exported, report, abandon_on_cancel=True)
            except ImportError:
                self.notice("trace.missing", install="the extra `otel`")
            except Exception as error:  # whatever the library or the collector does: the run has ended as it ended
                self.notice("trace.failed", error=f"{type(error).__name__}: {error}")
            else:
                self.notice("trace.sent", spans=spans)


def _is_traced(context: Context) -> bool:
    return traces.is_wanted(context.environ) and not context.sandbox  # a rehearsal is no run of anybody's statistics


async def _exit_before(report: Report, journal: Journal) -> int | None:
    """The exit code of the run of the same name that ended last before this one was made."""
    try:
        rows = list(await journal.runs())
    except JournalError:  # it is told elsewhere that the state cannot be used
        return None
    mine = next((number for number, row in enumerate(rows) if row.id == report.run.id), len(rows))
    same = (row for row in rows[mine + 1 :] if row.name == report.run.name and row.ended_at is not None)
    return next((row.exit_code for row in same), None)
