import pytest
import trio.testing


@pytest.fixture
def anyio_backend():
    """Virtual time: an hour costs nothing. Tests over real sockets override it with asyncio."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
