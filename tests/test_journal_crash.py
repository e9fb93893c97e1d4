"""Real processes that are killed, stopped and let go again, at any moment."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import anyio
import pytest
from leases import claim
from ram import folder_in_memory

from orchestrator.core.events import Claimed, Intended, RunMade
from orchestrator.core.model import Target
from orchestrator.journal.process import this_process
from orchestrator.journal.store import open_journal

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TARGETS = [Target(f"fake:acme/r{n}", "fake", f"acme/r{n}") for n in range(40)]

APPENDER = """
import anyio, sys, time
from orchestrator.core.errors import LeaseLost
from orchestrator.core.events import Intended
from orchestrator.journal.process import this_process
from orchestrator.journal.store import open_journal

async def main(where, who, appenders, lease_for):
    async with open_journal(where, now=time.time) as journal:
        while True:
            try:
                by = journal.register(this_process(), lease_for)
                (lease,) = await journal.claim("r", ["fake"], by, time.time())
                break
            except LeaseLost:
                await anyio.sleep(0.005)
        print("claimed", lease.epoch, flush=True)

        async def append(number):
            attempt = 0
            while True:
                attempt += 1
                marker = f"{who}.{lease.epoch}.{number}.{attempt}"
                await journal.append(lease, [Intended(f"fake:acme/r{number}", attempt, marker)], time.time())
                print(marker, flush=True)

        try:
            async with anyio.create_task_group() as tasks:
                for number in range(appenders):
                    tasks.start_soon(append, number)
        except* LeaseLost:
            print("lost", flush=True)

anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
"""


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def where():
    with folder_in_memory() as folder:
        yield str(folder)


@pytest.fixture
async def run(where):
    async with open_journal(where, now=time.time) as journal:
        await journal.make_run("r", RunMade("n", None, ""), TARGETS, time.time())


def spawn(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def start(where, who="a", appenders=5, lease_for=60.0):
    return spawn(APPENDER, where, who, appenders, lease_for)


def lines_of(output):
    """Whole lines: the last may have been cut by the kill."""
    return output.rpartition("\n")[0].splitlines()


async def markers(where):
    async with open_journal(where, now=time.time) as journal:
        entries = await journal.read("r", {}, 10_000_000)
        assert [entry.seq for entry in entries if entry.account == "fake"] == list(range(1, len(entries)))
        return [entry.event.marker for entry in entries if isinstance(entry.event, Intended)]


async def test_every_acknowledged_append_survives_kill_9_at_any_point(where, run):
    chance = random.Random(20260105)
    acknowledged = []
    for number in range(30):
        with start(where, f"p{number}", chance.choice([1, 5, 40])) as child:
            assert child.stdout.readline() == f"claimed {number + 1}\n"  # the dead holder is followed at once
            await anyio.sleep(chance.uniform(0.0, 0.05))
            child.kill()
            acknowledged += lines_of(child.stdout.read())
    found = await markers(where)
    assert len(acknowledged) > 1000
    assert Counter(acknowledged) <= Counter(found)
    assert max(Counter(found).values()) == 1


async def test_kill_9_while_a_run_is_made_leaves_all_of_it_or_nothing(where):
    code = """
import anyio, sys
from orchestrator.core.events import RunMade
from orchestrator.journal.store import open_journal
from orchestrator.core.model import Target
async def main():
    async with open_journal(sys.argv[1], now=lambda: 0.0) as journal:
        targets = [Target(f"fake:acme/r{n}", "fake", f"acme/r{n}") for n in range(5000)]
        for number in range(100):
            print("making", flush=True)
            await journal.make_run(f"{sys.argv[2]}.{number}", RunMade("n", None, ""), targets, 1.0, False)
anyio.run(main)
"""
    chance = random.Random(1)
    for number in range(10):
        with spawn(code, where, number) as child:
            child.stdout.readline()
            await anyio.sleep(chance.uniform(0.0, 0.2))
            child.kill()
    async with open_journal(where, now=time.time) as journal:
        rows = await journal.runs()
        assert rows
        for row in rows:
            assert row.targets == len(await journal.targets(row.id)) == 5000
            assert [entry.event.kind for entry in await journal.read(row.id, {})] == ["run_made"]


async def test_of_two_processes_one_drives_and_the_other_follows_when_it_dies(where, run):
    with start(where, "a") as first:
        assert first.stdout.readline() == "claimed 1\n"
        with start(where, "b") as second:
            await anyio.sleep(0.3)
            first.kill()
            assert second.stdout.readline() == "claimed 2\n"
            await anyio.sleep(0.1)
            second.kill()
            by_second = lines_of(second.stdout.read())
        by_first = lines_of(first.stdout.read())
    found = await markers(where)
    assert by_first
    assert by_second
    assert Counter(by_first + by_second) <= Counter(found)
    owners = [marker.partition(".")[0] for marker in found]
    assert owners == sorted(owners)  # nothing of the first behind the second's claim


async def test_many_processes_write_to_one_state_without_losing_anything(where):
    async with open_journal(where, now=time.time) as journal:
        for number in range(4):
            await journal.make_run(f"r{number}", RunMade("n", None, ""), TARGETS, time.time(), forbid_overlap=False)
    code = APPENDER.replace('"r"', "sys.argv[2]")
    children = [spawn(code, where, f"r{number}", 10, 60) for number in range(4)]
    for child in children:
        assert child.stdout.readline() == "claimed 1\n"
    await anyio.sleep(1.0)
    for child in children:
        child.kill()
    async with open_journal(where, now=time.time) as journal:
        for number, child in enumerate(children):
            acknowledged = lines_of(child.communicate()[0])
            entries = await journal.read(f"r{number}", {}, 10_000_000)
            assert len(acknowledged) > 20
            assert set(acknowledged) <= {getattr(entry.event, "marker", None) for entry in entries}


async def test_a_process_that_was_stopped_for_longer_than_its_lease_writes_nothing_more(where, run):
    with start(where, "a", lease_for=0.5) as child:
        assert child.stdout.readline() == "claimed 1\n"
        child.stdout.readline()
        async with open_journal(where, now=time.time) as journal:
            while True:
                # Stopped between two commits: one that is stopped in a commit keeps the lock until it goes on.
                os.kill(child.pid, signal.SIGSTOP)
                if journal.dialect.database.try_begin():
                    journal.dialect.database.commit()
                    break
                os.kill(child.pid, signal.SIGCONT)
            await anyio.sleep(0.6)
            lease = await claim(journal, "r", "fake", this_process(), time.time(), 60.0)
            assert lease.epoch == 2
            assert lease.last_alive < time.time() - 0.3
            os.kill(child.pid, signal.SIGCONT)
            output = child.stdout.read()
            assert output.endswith("lost\n")
            entries = [entry.event for entry in await journal.read("r", {}, 10_000_000) if entry.account == "fake"]
    assert isinstance(entries[-1], Claimed)
    assert {line for line in output.splitlines()[1:] if line != "lost"} <= {
        event.marker for event in entries if isinstance(event, Intended)
    }
