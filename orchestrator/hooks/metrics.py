"""How a run goes on, as a file in Prometheus' text format, for node_exporter's textfile collector and its kin.

The labels are few and bounded: outcomes, accounts, the purposes of calls, how these were answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import OrchestratorError, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Outcome
from orchestrator.providers.port import Line

Connect: TypeAlias = Callable[[Account], AbstractAsyncContextManager[Line]]
OPEN = "open"  # stands for the outcome of what has none yet
EVERY = 15.0  # seconds between two writes while the run goes on; monitoring seldom looks more often


class Calls:
    """Counts the calls of a process, by account, purpose, and how they were answered (`2xx`, ..., `lost`)."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def over(self, connect: Connect) -> Connect:
        """The same way to accounts, counted."""

        @asynccontextmanager
        async def counted(account: Account) -> AsyncIterator[Line]:
            async with connect(account) as line:

                async def send(call: Call) -> Answer:
                    how = "lost"
                    try:
                        answer = await line.send(call)
                        how = f"{answer.status // 100}xx"
                    except Unreachable:
                        how = "unreachable"
                        raise
                    except OrchestratorError:
                        raise
                    finally:
                        self.counts[account.name, call.purpose, how] += 1
                    return answer

                yield replace(line, send=send)

        return counted


def text(
    outcomes: Mapping[str, int],
    calls: Mapping[tuple[str, str, str], int],
    seconds: float,
    exit_code: int | None,
) -> str:
    """The metrics of a run.

    Args:
        outcomes: targets by outcome; what is open under `open`.
        calls: by account, purpose and answer: those of this process.
        seconds: since the run was made, until it ended.
        exit_code: None while it goes on.
    """
    return "\n".join([*_lines(outcomes, calls, seconds, exit_code), ""])


def _lines(
    outcomes: Mapping[str, int],
    calls: Mapping[tuple[str, str, str], int],
    seconds: float,
    exit_code: int | None,
) -> Iterator[str]:
    yield from _head("orchestrator_targets", "gauge", "Targets of the run, by outcome; `open`: none yet.")
    for outcome in (*Outcome, OPEN):
        yield f'orchestrator_targets{{outcome="{outcome}"}} {outcomes.get(outcome, 0)}'
    yield from _head("orchestrator_calls_total", "counter", "Calls of this process, by purpose and answer.")
    for (account, kind, outcome), number in sorted(calls.items()):
        labels = f'account="{_escaped(account)}",kind="{kind}",outcome="{outcome}"'
        yield f"orchestrator_calls_total{{{labels}}} {number}"
    yield from _head("orchestrator_run_seconds", "gauge", "Age of the run, until it ended.")
    yield f"orchestrator_run_seconds {seconds:.0f}"
    if exit_code is not None:
        yield from _head("orchestrator_run_exit_code", "gauge", "Exit code of the process that left the run.")
        yield f"orchestrator_run_exit_code {exit_code}"


def _head(name: str, kind: str, help_: str) -> Iterator[str]:
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} {kind}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
