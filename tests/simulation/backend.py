"""What anyio needs of an event loop, over the kernel: scopes, task groups, events, locks. As trio does it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from math import inf
from random import Random
from types import TracebackType
from typing import Any

import sniffio
from anyio._core import _eventloop
from anyio.abc import AsyncBackend, TaskGroup

from .kernel import Cancelled, Kernel, Process, Task

NAME = "simulated"
ASKED = "get_async_backend"
_get_async_backend = _eventloop.get_async_backend


class Scope:
    """A cancel scope."""

    __slots__ = ("_deadline", "_kernel", "_task", "cancel_called", "cancelled_caught", "parent", "shield")

    def __init__(self, kernel: Kernel, deadline: float = inf, shield: bool = False) -> None:
        self._kernel = kernel
        self._deadline = deadline
        self._task: Task | None = None
        self.shield = shield
        self.parent: Scope | None = None
        self.cancel_called = False
        self.cancelled_caught = False

    @property
    def deadline(self) -> float:
        return self._deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._deadline = value
        if self._task is not None and value != inf:
            self._kernel.cancel_at(value, self)

    def is_open_until(self, when: float) -> bool:
        """Whether it is entered and its deadline is that one."""
        return self._task is not None and self._deadline == when and not self._task.process.is_dead

    def expire(self) -> None:
        """Its deadline has passed."""
        self.cancel()

    def cancel(self, reason: str | None = None) -> None:
        if self.cancel_called:
            return
        self.cancel_called = True
        if self._task is None:
            return
        for task in self._kernel.tasks:
            if task.waits and task.can_cancel and is_cancelled(task.scope):
                self._kernel.wake(task, error=Cancelled())

    def __enter__(self) -> Scope:
        task = self._kernel.current
        assert task is not None
        self.parent, task.scope, self._task = task.scope, self, task
        if self._deadline != inf:
            if self._deadline <= self._kernel.time:
                self.cancel_called = True
            else:
                self._kernel.cancel_at(self._deadline, self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> bool:
        rest = self.close(error)
        if rest is None:
            return error is not None
        if rest is error:
            return False
        raise rest

    def close(self, error: BaseException | None) -> BaseException | None:
        """Leaves the scope; what is left of the exception once the cancellation of this scope is taken out."""
        assert self._task is not None
        self._task.scope, self._task = self.parent, None
        if error is None or not self._is_mine():
            return error
        if isinstance(error, Cancelled):
            self.cancelled_caught = True
            return None
        if isinstance(error, BaseExceptionGroup):
            mine, rest = error.split(Cancelled)
            self.cancelled_caught = self.cancelled_caught or mine is not None
            return rest
        return error

    def _is_mine(self) -> bool:
        if self.shield or not is_cancelled(self.parent):
            return self.cancel_called
        return False


def is_cancelled(scope: Scope | None) -> bool:
    """Whether a task in this scope is to be cancelled."""
    while scope is not None:
        if scope.cancel_called:
            return True
        if scope.shield:
            return False
        scope = scope.parent
    return False


class Group(TaskGroup):
    """A task group."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.cancel_scope = Scope(kernel)
        self._children = 0
        self._errors: list[BaseException] = []
        self._waiter: Task | None = None

    def start_soon(self, func: Callable[..., Coroutine[Any, Any, Any]], *args: Any, name: object = None) -> None:
        task = self._kernel.current
        assert task is not None
        self._children += 1
        self._kernel.start(func(*args), task.process, self.cancel_scope, self._ended)

    def create_task(self, coro: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def start(self, func: Any, *args: Any, name: object = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _ended(self, error: BaseException | None) -> None:
        self._children -= 1
        if error is not None:
            self._failed(error)
        if not self._children and self._waiter is not None:
            self._kernel.wake(self._waiter)

    def _failed(self, error: BaseException) -> None:
        self._errors.append(error)
        self.cancel_scope.cancel()

    async def __aenter__(self) -> Group:
        self.cancel_scope.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is not None:
            self._failed(error)
        try:
            if not self._children:
                await Backend.checkpoint()
        except Cancelled as late:
            self._failed(late)
        await self._all_children()
        rest = self.cancel_scope.close(self._combined())
        if rest is None:
            return True
        if isinstance(rest, BaseExceptionGroup) and rest.split(Cancelled)[1] is None:
            raise Cancelled from None
        raise rest

    async def _all_children(self) -> None:
        """Waits for them whatever happens; that this wait was cancelled too is not forgotten."""
        self._waiter = self._kernel.current
        cancelled = False
        while self._children:
            try:
                if not cancelled and is_cancelled(self.cancel_scope):
                    raise Cancelled
                await self._kernel.wait(can_cancel=not cancelled)
            except Cancelled as late:
                cancelled = True
                self._failed(late)
        self._waiter = None

    def _combined(self) -> BaseException | None:
        if not self._errors:
            return None
        if len(self._errors) == 1 and isinstance(self._errors[0], Cancelled):
            return self._errors[0]
        return BaseExceptionGroup("unhandled errors in a task group", self._errors)


class Event:
    """An event; whoever sets it may belong to no process."""

    __slots__ = ("_is_set", "_kernel", "_waiters")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._is_set = False
        self._waiters: list[tuple[Task, int]] = []

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            for task, turn in self._waiters:
                self._kernel.wake(task, turn)
            self._waiters.clear()

    def is_set(self) -> bool:
        return self._is_set

    async def wait(self) -> None:
        if self._is_set:
            await Backend.checkpoint()
            return
        task = Backend.task_in_line()
        self._waiters.append((task, task.turn + 1))
        await self._kernel.wait()


class Lock:
    """A lock that is handed over in the order of asking."""

    __slots__ = ("_holder", "_kernel", "_line")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._holder: Task | None = None
        self._line: deque[tuple[Task, int]] = deque()

    async def acquire(self) -> None:
        task = Backend.task_in_line()
        if self._holder is None:
            self._holder = task
            await self._kernel.yield_()
            return
        self._line.append((task, task.turn + 1))
        await self._kernel.wait()

    def release(self) -> None:
        self._holder = None
        while self._line and self._holder is None:
            task, turn = self._line.popleft()
            if self._kernel.wake(task, turn):
                self._holder = task

    def locked(self) -> bool:
        return self._holder is not None

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *error: object) -> None:
        self.release()


class Semaphore:
    """A semaphore, whose permits are handed over in the order of asking."""

    __slots__ = ("_kernel", "_left", "_line")

    def __init__(self, kernel: Kernel, left: int) -> None:
        self._kernel = kernel
        self._left = left
        self._line: deque[tuple[Task, int]] = deque()

    async def acquire(self) -> None:
        task = Backend.task_in_line()
        if self._left > 0:
            self._left -= 1
            await self._kernel.yield_()
            return
        self._line.append((task, task.turn + 1))
        await self._kernel.wait()

    def release(self) -> None:
        while self._line:
            if self._kernel.wake(*self._line.popleft()):
                return
        self._left += 1

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *error: object) -> None:
        self.release()


class Backend(AsyncBackend):
    """The backend that anyio asks; one kernel at a time."""

    kernel: Kernel

    @classmethod
    def task_in_line(cls) -> Task:
        """The running task, which is about to wait; Cancelled when it may not."""
        task = cls.kernel.current
        if task is not None and is_cancelled(task.scope):
            raise Cancelled
        return cls.kernel._running()

    @classmethod
    def current_time(cls) -> float:
        return cls.kernel.time

    @classmethod
    def cancelled_exception_class(cls) -> type[BaseException]:
        return Cancelled

    @classmethod
    async def checkpoint(cls) -> None:
        cls.task_in_line()
        await cls.kernel.yield_()

    @classmethod
    async def cancel_shielded_checkpoint(cls) -> None:
        await cls.kernel.yield_()

    @classmethod
    async def sleep(cls, delay: float) -> None:
        task = cls.task_in_line()
        if delay <= 0:
            await cls.kernel.yield_()
            return
        if delay != inf:
            cls.kernel.wake_at(cls.kernel.time + delay, task)
        await cls.kernel.wait()

    @classmethod
    def create_cancel_scope(cls, *, deadline: float = inf, shield: bool = False) -> Scope:
        return Scope(cls.kernel, deadline, shield)

    @classmethod
    def current_effective_deadline(cls) -> float:
        scope, nearest = cls.task_in_line().scope, inf
        while scope is not None and not scope.shield:
            nearest, scope = min(nearest, scope.deadline), scope.parent
        return nearest

    @classmethod
    def create_task_group(cls) -> Group:
        return Group(cls.kernel)

    @classmethod
    def create_event(cls) -> Event:
        return Event(cls.kernel)

    @classmethod
    def create_lock(cls, *, fast_acquire: bool) -> Lock:
        return Lock(cls.kernel)

    @classmethod
    def create_semaphore(cls, initial_value: int, *, max_value: int | None, fast_acquire: bool) -> Semaphore:
        return Semaphore(cls.kernel, initial_value)


@cache
def _askers() -> Sequence[Any]:
    """The modules of anyio that ask for its backend."""
    return [module for name, module in sys.modules.items() if name.startswith("anyio.") and hasattr(module, ASKED)]


def run(main: Callable[[Kernel], Coroutine[Any, Any, Any]], random: Random, **bounds: Any) -> Kernel:
    """Runs `main(kernel)` in virtual time, under anyio."""
    _eventloop.loaded_backends[NAME] = Backend
    kernel = Backend.kernel = Kernel(random, **bounds)
    token = sniffio.current_async_library_cvar.set(NAME)
    for module in _askers():  # at every step: each time through three functions and a table, if left alone
        setattr(module, ASKED, lambda name=None: Backend)
    try:
        kernel.run(main(kernel))
    finally:
        for module in _askers():
            setattr(module, ASKED, _get_async_backend)
        sniffio.current_async_library_cvar.reset(token)
    return kernel


__all__ = ["Backend", "Cancelled", "Kernel", "Process", "run"]
