"""aiohttp's client where it must be stricter: nobody's bytes are an answer, and no answer has headers without end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from typing_extensions import override

MOST_READ = 1024 * 1024  # bytes of headers that are read; so much, that one which is too long can be named

ready: ContextVar[Callable[[], None] | None] = ContextVar("ready", default=None)  # of the call that a task makes


class Surplus(aiohttp.ClientError):
    """The call was not written: its connection had brought bytes that nobody had asked for."""


class EndlessHeaders(aiohttp.ClientError):
    """The headers of the answer were given up: all that was read is headers."""


class Request(aiohttp.ClientRequest):
    """A request that leaves only over a connection on which nothing is left over: else that would be its answer."""

    @override
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise Surplus
        if (may_leave := ready.get()) is not None:
            may_leave()
        return await super().send(conn)


class Response(aiohttp.ClientResponse):
    """A response whose connection can be closed after it was read."""

    _way: asyncio.BaseTransport | None = None

    @override
    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        self._way = connection.transport
        return await super().start(connection)

    def hang_up(self) -> None:
        """Closes the connection, which may wait for the next call by now."""
        if self._way is not None:
            self._way.close()


class _Bounded(ResponseHandler):
    """Gives up an answer whose headers have no end: aiohttp bounds how long each is, and how many there are."""

    _headers: int | None = None  # bytes of an answer that came before its headers were over; None once they are

    @override
    def set_response_params(self, **params: Any) -> None:
        self._headers = 0
        super().set_response_params(**params)

    @override
    def feed_data(self, data: Any, size: int = 0) -> None:
        if data[0].code >= 200:  # others only say that an answer will come
            self._headers = None
        super().feed_data(data, size)

    @override
    def data_received(self, data: bytes) -> None:
        if self._headers is not None:
            self._headers += len(data)
            if self._headers > MOST_READ:
                self.set_exception(EndlessHeaders())
                self.close()
                return
        super().data_received(data)


class Connector(aiohttp.TCPConnector):
    """Connections that read answers so."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._factory = partial(_Bounded, loop=self._loop)  # type: ignore[assignment]  # aiohttp has no other place
