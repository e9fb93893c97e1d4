"""A scheduler with virtual time: nothing sleeps, the order of tasks is drawn from a seed, processes can die and stop.

A `Process` is a set of tasks. A dead one is never scheduled again: no `except`, no `finally` of it runs, as after
kill -9. A stopped one keeps its place, as after SIGSTOP, while time and the other processes go on.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any


class Cancelled(BaseException):
    """Thrown into a task whose scope was canceled."""


class Dead(BaseException):
    """Thrown into what is left of a dead process when the simulation is over, so that Python can tidy up."""


class Stuck(Exception):
    """The simulation went on for too long, or nothing can ever happen again."""


class Process:
    """Tasks that live and die together.

    Args:
        dies_at: the step before which it dies; none by default.
        on_death: told when it dies.
    """

    def __init__(self, name: str, dies_at: float = inf, on_death: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.dies_at = dies_at
        self.on_death = on_death
        self.steps = 0
        self.is_dead = False
        self.is_stopped = False
        self.held: list[Task] = []


class Task:
    """A coroutine on its way.

    Attributes:
        scope: the innermost cancel scope that it is in.
        turn: counts its waits, so that a late waker can tell that it waits for something else by now.
        waits: whether it waits; `can_cancel` whether a cancellation may end that wait.
    """

    __slots__ = ("can_cancel", "coro", "done", "error", "process", "scope", "turn", "waits")

    def __init__(
        self, coro: Coroutine[Any, Any, Any], process: Process, scope: Any, done: Callable[[BaseException | None], None]
    ) -> None:
        self.coro = coro
        self.process = process
        self.scope = scope
        self.done = done
        self.error: BaseException | None = None
        self.turn = 0
        self.waits = False
        self.can_cancel = False


@types.coroutine
def _park() -> Generator[None, None, None]:
    yield


class Kernel:
    """Runs tasks until the main one has ended.

    Args:
        random: draws the order of tasks that are ready at the same time.
        most_steps: steps after which the simulation counts as stuck, and `most_time` seconds.
    """

    def __init__(self, random: Random, most_steps: int = 400_000, most_time: float = 400_000.0) -> None:
        self.time = 0.0
        self.steps = 0
        self.current: Task | None = None
        self.tasks: dict[Task, None] = {}
        self._random = random
        self._most_steps = most_steps
        self._most_time = most_time
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Any, int]] = []
        self._count = 0
        self._graves: list[Task] = []

    # -- tasks --------------------------------------------------------------------------------------------------

    def start(
        self,
        coro: Coroutine[Any, Any, Any],
        process: Process,
        scope: Any = None,
        done: Callable[[BaseException | None], None] = lambda error: None,
    ) -> Task:
        """A new task; `done` is told the exception that ended it, or None."""
        task = Task(coro, process, scope, done)
        self.tasks[task] = None
        self._ready.append(task)
        return task

    async def wait(self, can_cancel: bool = True) -> None:
        """Parks the running task until somebody wakes it."""
        task = self._running()
        task.turn += 1
        task.waits, task.can_cancel = True, can_cancel
        await _park()

    async def yield_(self) -> None:
        """Lets the others go first."""
        task = self._running()
        task.turn += 1
        self._ready.append(task)
        await _park()

    def wake(self, task: Task, turn: int | None = None, error: BaseException | None = None) -> bool:
        """Makes a waiting task ready, unless it waits for something else than at that turn."""
        if not task.waits or (turn is not None and task.turn != turn):
            return False
        task.waits, task.error = False, error
        self._ready.append(task)
        return True

    def ticket(self) -> int:
        """A number that rises, for the order of what happens at the same time."""
        self._count += 1
        return self._count

    def _running(self) -> Task:
        task = self.current
        if task is None or task.process.is_dead:
            raise Dead
        return task

    # -- time ---------------------------------------------------------------------------------------------------

    def at(self, when: float, deed: Callable[[], None]) -> None:
        """Does something at that time, in no process."""
        self._timer(when, deed, 0)

    def wake_at(self, when: float, task: Task) -> None:
        """Ends the wait that the task is about to begin."""
        self._timer(when, task, task.turn + 1)

    def cancel_at(self, when: float, scope: Any) -> None:
        """Lets the scope's deadline pass."""
        self._timer(when, scope, 0)

    def _timer(self, when: float, what: Any, turn: int) -> None:
        self._count += 1
        heappush(self._timers, (when, self._count, what, turn))

    def _pass_time(self) -> None:
        """Goes to the next instant at which something happens."""
        timers = self._timers
        while timers and not _is_due(timers[0]):
            heappop(timers)
        if not timers:
            raise Stuck("nothing can ever happen again")
        self.time = max(self.time, timers[0][0])
        if self.time > self._most_time:
            raise Stuck(f"not over after {self.time:.0f} s")
        while timers and timers[0][0] <= self.time:
            due = heappop(timers)
            if _is_due(due):
                self._strike(due[2], due[3])

    def _strike(self, what: Any, turn: int) -> None:
        if isinstance(what, Task):
            self.wake(what, turn)
        elif callable(what):
            what()
        else:
            what.expire()

    # -- processes ----------------------------------------------------------------------------------------------

    def kill(self, process: Process) -> None:
        """Nothing of it runs any more, not even to tidy up."""
        if process.is_dead:
            return
        process.is_dead = True
        for task in [task for task in self.tasks if task.process is process]:
            del self.tasks[task]
            self._graves.append(task)
        process.on_death()

    def stop(self, process: Process) -> None:
        """Nothing of it runs until it is let go on."""
        process.is_stopped = True

    def go_on(self, process: Process) -> None:
        """Its tasks run again from where they were."""
        process.is_stopped = False
        self._ready += process.held
        process.held = []

    # -- running ------------------------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, Any]) -> None:
        """Runs until this coroutine has ended, and raises what it raised."""
        end: list[BaseException | None] = []
        self.start(main, Process("main"), done=end.append)
        try:
            while not end:
                if not self._ready:
                    self._pass_time()
                batch, self._ready = self._ready, []
                if len(batch) > 1:
                    self._random.shuffle(batch)
                for task in batch:
                    self._step(task)
        finally:
            self._bury()
        if end[0] is not None:
            raise end[0]

    def _step(self, task: Task) -> None:
        process = task.process
        if process.is_stopped:
            process.held.append(task)
            return
        if process.is_dead:
            return
        process.steps += 1
        if process.steps >= process.dies_at:
            self.kill(process)
            return
        self.steps += 1
        if self.steps > self._most_steps:
            raise Stuck(f"not over after {self.steps} steps, at {self.time:.0f} s")
        self.current = task
        error, task.error = task.error, None
        try:
            if error is None:
                task.coro.send(None)
            else:
                task.coro.throw(error)
        except StopIteration:
            self._ended(task, None)
        except BaseException as error:  # whatever it is, it is its task group's
            self._ended(task, error)
        finally:
            self.current = None

    def _ended(self, task: Task, error: BaseException | None) -> None:
        if self.tasks.pop(task, task) is None:
            task.done(error)

    def _bury(self) -> None:
        """Ends what never ended, now that nothing it does can matter."""
        left, self.current = [*self._graves, *self.tasks], None
        for task in left:
            task.process.is_dead = True
        for task in left:
            with suppress(BaseException):
                task.coro.close()


def _is_due(timer: tuple[float, int, Any, int]) -> bool:
    what = timer[2]
    if isinstance(what, Task):
        return what.waits and what.turn == timer[3] and not what.process.is_dead
    return callable(what) or what.is_open_until(timer[0])
