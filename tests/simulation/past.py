"""What earlier runs have left in the state: the markers that they saw, each in its place."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from orchestrator.core.calls import Answer, Call
from orchestrator.core.model import Target
from orchestrator.lookalike.kit import answer_of
from orchestrator.providers.port import SaysWho

from .kinds import KINDS, Site
from .machine import EPOCH, line_over
from .network import incoming
from .world import World

T = TypeVar("T")
_PRINCIPALS: dict[tuple[str, str, str, bool], str] = {}


def proofs(site: Site, targets: Sequence[Target]) -> Iterator[str]:
    """Where the markers of these targets were seen to be shown, as far as the service shows them."""
    kind = KINDS[site.type]
    mine = [target for target in targets if target.account == site.name and kind.shows(site, target)]
    for place in dict.fromkeys(f"{target.repo} {at}" if (at := kind.declared.place(target)) else "" for target in mine):
        yield f"{principal_of(site)} {place}".rstrip()


def principal_of(site: Site) -> str:
    """The account as the state knows it: whoever is asked by a service that is just like its own."""
    key = site.type, site.url, site.token, "login" in site.keys
    if key not in _PRINCIPALS:
        _PRINCIPALS[key] = f"{site.type}:{site.url}:{_user(site)}"
    return _PRINCIPALS[key]


def _user(site: Site) -> str:
    world = World(site, EPOCH, lambda: 0.0)
    headers = {**world.like.headers(site.token), "user-agent": "simulation", "x-request-id": "0"}

    async def send(call: Call) -> Answer:
        return answer_of(world.handle(incoming(world, call, headers)))

    provider = line_over(site, site.account, send).provider_over(send)
    found = _at_once(provider.whoami()) if isinstance(provider, SaysWho) else None
    return site.token if found is None else found.id


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of what never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    raise AssertionError("it waits")
