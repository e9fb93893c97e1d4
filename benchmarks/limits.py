"""Our limiter beside those of others: the share of an allowance it uses, refusals, fairness, CPU.

Servers that are not written in Python keep the rule: an exact sliding window (`window.c`), near and far away, and
nginx' `limit_req`. Every limiter drives the same tasks over the same transport.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from benchmarks import limit_req, sharing, window
from benchmarks.allowance import used
from benchmarks.child import measure
from benchmarks.crowd import CALLS, CROWD, PER, TASKS
from benchmarks.limiters import LIMITERS
from benchmarks.table import Asked, Beside, Row

SERVERS = {  # and seconds from a call's arrival to its answer
    "window, 20 ms": (window.served, 0.02),
    "window, 200 ms": (window.served, 0.2),
    "limit_req, 50 ms": (limit_req.served, 0.05),
}
MODULES = {"aiolimiter": "aiolimiter", "pyrate-limiter": "pyrate_limiter", "throttled-py": "throttled"}


def rows(asked: Asked) -> Iterator[Row | Beside]:
    """The figures; libraries that are not installed are left out."""
    names = [name for name in LIMITERS if _is_there(name)]
    seconds, crowd, times = (2.0, 1.0, 1) if asked.quick else (10.0, 3.0, 3)
    at_once = 4 * len(SERVERS) if asked.quick else len(SERVERS)  # a run is mostly asleep
    found: dict[str, dict[str, Any]] = {}
    pairs = [(name, server) for name in names for server in SERVERS]
    with ThreadPoolExecutor(at_once) as pool:
        for (name, server), one in zip(pairs, pool.map(lambda pair: _at(*pair, seconds), pairs), strict=True):
            found.setdefault(name, {})[server] = one
    with ThreadPoolExecutor(at_once if asked.quick else 1) as pool:
        micro = _costs(pool, names, times, crowd)
    yield from _judged(found["ours"])
    yield _beside(found, micro)
    yield from sharing.rows(200, 1) if asked.quick else sharing.rows(600, 3)


def _at(name: str, server: str, seconds: float) -> dict[str, Any]:
    """One limiter at one server."""
    serve, latency = SERVERS[server]
    with serve(CALLS, PER, latency) as (port, stats):
        found = measure("crowd:run", limiter=name, port=port, seconds=seconds)
        counted = stats()
    stamps = counted.pop("stamps")
    use = used(stamps, CALLS, PER, latency) if len(stamps) > CALLS else 0.0
    return {**found, **counted, "use": use}


def _costs(pool: Executor, names: Sequence[str], times: int, seconds: float) -> dict[str, float]:
    """Microseconds of CPU that a permit costs with each limiter, in turns, so that all see the same noise."""
    turns = ["nothing", *names] * times
    found = list(pool.map(lambda name: measure("crowd:cost", limiter=name, seconds=seconds)["micro"], turns))
    rounds = [found[start : start + len(names) + 1] for start in range(0, len(found), len(names) + 1)]
    return {name: statistics.median(one[place] - one[0] for one in rounds) for place, name in enumerate(names, 1)}


def _judged(ours: Mapping[str, Any]) -> Iterator[Row]:
    """The goals for ours."""
    for server, (_, latency) in SERVERS.items():
        best, at = f"P/(P+L), L = {latency * 1000:.0f} ms", ours[server]
        yield Row(f"our limiter, {server}, used", 100 * at["use"], "%", best, ("at least", 97.0), "", at)
        yield Row(f"our limiter, {server}, calls refused", at["refused"], "", "", ("at most", 0.0))


def _beside(found: Mapping[str, Mapping[str, Any]], micro: Mapping[str, float]) -> Beside:
    heads = [head for server in SERVERS for head in (f"{server}: used", "refused", "worst window", "spread")]
    return Beside(
        f"Limiters side by side, {CALLS} calls per {PER:g} s, {TASKS} tasks",
        ("limiter", *heads, f"CPU of a permit, {CROWD} waiting"),
        tuple(_line(name, one, micro[name]) for name, one in found.items()),
        (*NOTES, *_left_out()),
    )


def _is_there(name: str) -> bool:
    return name not in MODULES or importlib.util.find_spec(MODULES[name]) is not None


def _left_out() -> list[str]:
    missing = [name for name in LIMITERS if not _is_there(name)]
    return [f"not installed, so left out: {', '.join(missing)}; they come with the extra `bench`"] if missing else []


def _line(name: str, one: Mapping[str, Any], micro: float) -> tuple[str, ...]:
    cells = [name]
    for server in SERVERS:
        at = one[server]
        cells += [f"{100 * at['use']:.1f} %", str(at["refused"]), str(at["worst"]), str(at["spread"])]
    return (*cells, f"{micro:.0f} us")


NOTES = (
    "used: of P/(P+L), P the period, L the latency: the most that is possible without a refusal for who does not know",
    "at which instant of a call the server counts it. More is for who is refused, or for who knows the server:",
    "`limit_req` counts a call when it comes, and forgets a little at every moment.",
    "worst window: calls in any period as the server saw them, refused ones among them. spread: calls of the task that",
    "made most, less those of the one that made fewest.",
    "CPU: ours also asks for other limits, for freezes and for what the answer teaches. The others keep one rule; the",
    "semaphore does so with a task asleep for each permit of a period.",
)
