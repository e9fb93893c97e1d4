"""A look-alike behind real sockets, on loopback only. The one place that knows aiohttp's server.

Beside the service's API it has the pages `/sandbox/*` of docs/sandbox.md, for tests and people in another process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import parse_qsl

from aiohttp.web_exceptions import HTTPRequestEntityTooLarge  # of `aiohttp.web` only what is used: half its time
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import ContentCoding, Response, StreamResponse
from aiohttp.web_server import Server

from orchestrator.core.calls import is_loopback
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit import LookAlike
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.kit.http import Effect, Harm, Incoming, Reply, json_reply, text
from orchestrator.lookalike.kit.settings import read

KEEP_ALIVE = 5.0  # seconds; as long as the proxy of Travis keeps idle connections (reference 6)
BACKLOG = 128  # connections that wait to be taken
_ABSOLUTE = re.compile(r"^https?://[^/?]*", re.ASCII | re.IGNORECASE)
PATIENCE = 0.5  # seconds for calls under way when it ends
WORTH_PACKING = 2048  # bytes of an answer from which on it is compressed for those who can read that


class Served(Struct, frozen=True):
    """Where a look-alike can be reached, and with which token."""

    url: str
    token: str


@asynccontextmanager
async def serve(
    look_alike: LookAlike, host: str = "127.0.0.1", port: int = 0, now: Callable[[], float] = time.time
) -> AsyncIterator[Served]:
    """Serves it until the block ends.

    Args:
        port: 0 takes a free one.
        now: wall seconds.

    Raises:
        UsageError: the host is not loopback, or the port is taken.
    """
    if not is_loopback(host):
        raise UsageError(f"the sandbox serves loopback only, not {host}; use 127.0.0.1, ::1 or localhost")
    server = Server(
        _Handler(look_alike, now).handle,
        access_log=None,
        keepalive_timeout=KEEP_ALIVE,
        handler_cancellation=True,
        auto_decompress=False,
        logger=_silent(),
    )
    try:
        listening = await asyncio.get_running_loop().create_server(server, host, port, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(f"cannot serve on {host}:{port}: {error.strerror}; choose another --port") from None
    try:
        found = listening.sockets[0].getsockname()
        name = f"[{found[0]}]" if ":" in found[0] else found[0]
        settings = look_alike.settings
        yield Served(f"http://{name}:{found[1]}{settings.prefix}", settings.token)
    finally:
        listening.close()
        await asyncio.sleep(0)  # what has come in before is begun, and can be ended
        server.pre_shutdown()
        await server.shutdown(PATIENCE)


class _Handler:
    """Takes calls from sockets to the look-alike, and its replies back, with the harm that it orders."""

    def __init__(self, look_alike: LookAlike, now: Callable[[], float]) -> None:
        self._look_alike = look_alike
        self._settings = look_alike.settings
        self._now = now
        self._random = Random(look_alike.settings.seed)  # noqa: S311 - latency, not secrets

    async def handle(self, request: BaseRequest) -> StreamResponse:
        path, _, query = _ABSOLUTE.sub("", request.raw_path).partition("?")  # as clients send it to a proxy
        try:
            body = await request.read()
        except HTTPRequestEntityTooLarge:
            return _response(text(413, "Payload Too Large\n"), request)
        own = path.removeprefix(self._settings.prefix)
        if own.startswith("/sandbox/"):
            return _response(self._own_page(request.method, own, body), request)
        latency = self._random.uniform(*self._settings.latency)
        if latency:
            await asyncio.sleep(latency / 2)
        headers = {name.lower(): value for name, value in request.headers.items()}
        pairs = parse_qsl(query, keep_blank_values=True)
        reply = self._look_alike.handle(Incoming(request.method, path, pairs, headers, body), self._now())
        if latency:
            await asyncio.sleep(latency / 2)
        if reply.effect is not None:
            return await _harmed(reply, reply.effect, request)
        return _response(reply, request)

    def _own_page(self, method: str, path: str, body: bytes) -> Reply:
        self._look_alike.advance(self._now())
        match method, path:
            case "GET", "/sandbox/stats":
                return json_reply(200, self._look_alike.stats(), pretty=True)
            case "GET", "/sandbox/requests":
                return json_reply(200, [each.as_json() for each in self._look_alike.counters.accepted])
            case "POST", "/sandbox/faults":
                return self._plan_faults(body)
            case _:
                return json_reply(404, {"error": "GET /sandbox/stats, GET /sandbox/requests or POST /sandbox/faults"})

    def _plan_faults(self, body: bytes) -> Reply:
        try:
            found = json.loads(body or b"{}")
            rules = read(tuple[FaultRule, ...], found.get("faults", []) if isinstance(found, dict) else found, "faults")
        except (ValueError, UsageError) as error:
            return json_reply(400, {"error": str(error)})
        self._look_alike.plan_faults(rules)
        return json_reply(200, {"faults": len(rules)})


def _response(reply: Reply, request: BaseRequest) -> Response:
    response = Response(status=reply.status, body=reply.body, headers=reply.headers)
    if len(reply.body) >= WORTH_PACKING and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(ContentCoding.gzip)
    return response


async def _harmed(reply: Reply, effect: Effect, request: BaseRequest) -> StreamResponse:
    match effect.harm:
        case Harm.NEVER_LEFT | Harm.RESET:
            return _cut(request)
        case Harm.HANG:
            await asyncio.Event().wait()  # until the client goes away, which cancels this
            return _cut(request)
        case Harm.SLOW:
            await asyncio.sleep(effect.seconds)
            return _response(reply, request)
        case Harm.TORN:
            return await _torn(reply, request)


def _cut(request: BaseRequest) -> Response:
    """Resets the connection. What is returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        found = transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return Response()


async def _torn(reply: Reply, request: BaseRequest) -> StreamResponse:
    """Promises the whole body, sends half of it, and hangs up."""
    response = StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = len(reply.body)
    await response.prepare(request)
    await response.write(reply.body[: len(reply.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _silent() -> logging.Logger:
    """Connections that die on purpose are not worth a line."""
    logger = logging.Logger("orchestrator.lookalike")  # not from the registry, which others may configure
    logger.addHandler(logging.NullHandler())
    return logger
