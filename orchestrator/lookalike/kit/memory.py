"""A world reached without sockets, in whatever time the caller lives: real bytes, real errors, no port."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from random import Random

from orchestrator.core.errors import InDoubt, Unreachable
from orchestrator.core.model import Json
from orchestrator.lookalike.kit.reply import Effect, Harm, Reply
from orchestrator.lookalike.travis.world import World
from orchestrator.providers.port import Answer, Call, Send

USER_AGENT = "orchestrator-in-memory/1"


def memory_send(
    world: World,
    now: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    random: Random,
    token: str | None = None,
) -> Send:
    """A transport into the world that fails as a real one does.

    Args:
        now: wall seconds, also when time is virtual.
        sleep: `anyio.sleep`, which may be virtual.
        random: draws the latency of each call; half of it passes before the world handles the call.
        token: the world's own when None.
    """
    headers = {
        "authorization": f"token {world.settings.token if token is None else token}",
        "travis-api-version": "3",
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": USER_AGENT,
    }
    prefix, latency, patience = world.settings.prefix, world.settings.latency, world.settings.patience

    async def send(call: Call) -> Answer:
        there_and_back = random.uniform(*latency)
        await sleep(there_and_back / 2)
        body = b"" if call.body is None else json.dumps(call.body).encode()
        reply = world.handle(call.method, prefix + call.path, call.query, headers, body, now())
        await sleep(there_and_back / 2)
        if reply.effect is not None:
            await _suffer(reply.effect, sleep, patience)
        return read(reply)

    return send


async def _suffer(effect: Effect, sleep: Callable[[float], Awaitable[None]], patience: float) -> None:
    """What the client sees of a fault, at the time when it sees it."""
    match effect.harm:
        case Harm.NEVER_LEFT:
            raise Unreachable("connection refused")
        case Harm.RESET:
            raise InDoubt("the connection was reset before the answer")
        case Harm.TORN:
            raise InDoubt("the connection broke in the middle of the answer")
        case Harm.HANG:
            await sleep(patience)
            raise InDoubt(f"no answer within {patience:g} s")
        case Harm.SLOW:
            await sleep(min(effect.seconds, patience))
            if effect.seconds >= patience:
                raise InDoubt(f"no answer within {patience:g} s")


def read(reply: Reply) -> Answer:
    """The reply as a transport hands it on: a JSON value, or the text where it is none."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return Answer(reply.status, _value(reply.body), headers)


def _value(body: bytes) -> Json:
    try:
        value: Json = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
    return value
