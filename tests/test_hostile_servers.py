"""Servers that are worse than broken, over sockets: a typed outcome, within bounds of memory and time."""

import resource

import pytest
from test_http import anyio_backend, failure  # noqa: F401  # the fixture: these tests need real sockets, too

from orchestrator.core.errors import InDoubt

pytestmark = pytest.mark.anyio

BLOCK = b"x" * 65536
MEGABYTES = 1024  # of ru_maxrss, which is kilobytes


def repeated(head, block, times=100_000):
    async def answer(writer, heard):
        writer.write(head)
        for _ in range(times):
            writer.write(block)
            await writer.drain()

    return answer


HOSTILE = {
    "a hundred megabytes": repeated(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", BLOCK, 1600),
    "for ever to be continued": repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "early hints for ever": repeated(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100),
    "a header without end": repeated(b"HTTP/1.1 200 OK\r\nX: ", BLOCK),
    "a status line without end": repeated(b"HTTP/1.1 200 ", BLOCK),
    "a chunk extension without end": repeated(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", BLOCK),
    "a chunk of all numbers": repeated(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", BLOCK, 1600
    ),
    "trailers without end": repeated(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X-A: b\r\n" * 1000
    ),
    "less than nothing": repeated(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"{}", 1),
    "two lengths": repeated(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\n", b"{}     ", 1),
    "a length that is none": repeated(b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\n", b"{}", 1),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
async def test_a_server_that_wants_to_drown_us_leaves_the_call_in_doubt(answer):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = await failure(answer, InDoubt, total=0.7, connect=0.5)
    assert 0 < len(words) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * MEGABYTES
