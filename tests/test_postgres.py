"""The journal on PostgreSQL does what every journal does, over a real server that the tests start."""

from contextlib import asynccontextmanager

import pytest
import test_journal
from postgres_cluster import UNSYNCED, running
from test_journal import *  # noqa: F403  # every test of the journal, with another state behind `opened`
from test_journal import clock as clock

from orchestrator.journal.sql.postgres import Postgres
from orchestrator.journal.store import SqlJournal

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # a server of its own


@pytest.fixture(scope="module")
def cluster():
    with running(*UNSYNCED) as cluster:
        yield cluster


@pytest.fixture
def anyio_backend():
    return "asyncio"  # psycopg knows no other


@pytest.fixture
def opened(cluster, clock):
    url = cluster.database()

    @asynccontextmanager
    async def way():
        journal = SqlJournal(Postgres(url), clock)
        await journal.prepare()
        try:
            yield journal
        finally:
            await journal.aclose()

    return way


def test_all_of_the_journal_s_tests_are_here():
    assert {name for name in vars(test_journal) if name.startswith("test_")} <= set(globals())
