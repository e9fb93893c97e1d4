import importlib
import logging
import os
import pkgutil
import signal
import sys
import tempfile
import threading
import warnings

import pytest
import trio.testing

import orchestrator
from orchestrator.core.frozen import replace
from orchestrator.lookalike.kit import service

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)

# A shell's background job ignores Ctrl-C, one under nohup SIGHUP, and event loops do not give that back: all tests
# begin as in the foreground.
for each, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, usual)

# Modules are imported when they are needed. One that is imported for the first time while a test has something patched
# would keep the patched thing for all tests after it, so all are imported before the first.
for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
    importlib.import_module(module.name)


@pytest.fixture
def anyio_backend():
    """Virtual time: an hour costs nothing. Tests over real sockets override it with asyncio."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def quick_polls(monkeypatch):
    """Real sockets and real time, but polls of what ends at once are not five seconds apart."""
    monkeypatch.setattr("orchestrator.core.next_step.NARROWEST", 0.05)
    monkeypatch.setattr("orchestrator.engine.facts.FIRST_POLL", 0.05)


@pytest.fixture
def quick_rehearsals(monkeypatch, quick_polls):
    """Real sockets and real time, but a rehearsal's look-alike lives a hundred times as fast, as its setting says."""
    for name in ("travis", "webhook"):  # which are not made as the others are
        package = sys.modules[f"orchestrator.lookalike.{name}"]
        fitted = package.fitted
        monkeypatch.setattr(package, "fitted", lambda *said, fitted=fitted: replace(fitted(*said), time_scale=100.0))
    brisk = service.brisk
    monkeypatch.setattr(service, "brisk", lambda rehearsal: {**brisk(rehearsal), "time_scale": 100.0})


@pytest.fixture(autouse=True)
def _leaves_nothing():
    """No test may lean on another, so none may leave anything in the process."""
    before, threads = what_is_shared(), set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - threads:
        if not thread.daemon:
            thread.join(5.0)  # what has been told to end may take a moment
    after = what_is_shared()
    assert after == before, f"the test leaves {[name for name in before if before[name] != after[name]]} changed"


def what_is_shared():
    return {
        "working directory": os.getcwd(),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "folder for temporary files": tempfile.tempdir,
        "signal handlers": [signal.getsignal(each) for each in SIGNALS],
        "log handlers": list(logging.getLogger().handlers),
        "warnings": list(warnings.filters),
        "threads": {thread.name for thread in threading.enumerate() if not thread.daemon},
    }


def pytest_terminal_summary(terminalreporter, config):
    """The order is drawn anew each time; a quiet run would not tell by which seed."""
    if (seed := getattr(config.option, "randomly_seed", None)) is not None:
        terminalreporter.write_line(f"in random order: -p randomly --randomly-seed={seed}")
