import random

import pytest
import trio.testing


@pytest.fixture
def anyio_backend():
    """Virtual time: an hour costs nothing. Tests over real sockets override it with asyncio."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def pytest_addoption(parser):
    parser.addoption("--shuffle", type=int, metavar="SEED", help="the tests in an order drawn by this seed")


def pytest_collection_modifyitems(config, items):
    """No test may lean on another: any order is as good as that of the files."""
    if (seed := config.getoption("shuffle")) is not None:
        random.Random(seed).shuffle(items)
