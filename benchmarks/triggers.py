"""Triggers per second without limits, the journal durable, beside clients that keep nothing."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from importlib import import_module
from typing import Any
from urllib.parse import quote

from benchmarks import drive, nginx
from benchmarks.child import Failed, measure
from benchmarks.table import Asked, Row
from benchmarks.tools import tool
from orchestrator.core.model import Account

CONNECTIONS = 32
# uvloop comes with the extra `fast`; where it is not installed, its rows are left out of the table
LOOPS = ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") else ("asyncio",)
WRK = 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [[{body}]]\n'
HEADERS = {
    "Travis-API-Version": "3",
    "Authorization": f"token {drive.TOKEN}",
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": "benchmarks/1",
}


Begun = Callable[[], None]
"""Is told when what is measured begins."""


def nothing() -> None:
    """Nobody wants to know."""


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    count, times = (2_000, 1) if asked.quick else (10_000, 3)
    with nginx.served() as port:
        strangers = _strangers(port, asked.quick)
        for loop in LOOPS:
            yield from _against_bare(port, loop, count, times, strangers)
        yield from _counted(port, count, times)
        yield from _without_disk(port, count, times)
        limit = strangers["wrk"]
        aside = "; ".join(f"{name} {rate:,.0f}/s" for name, rate in strangers.items())
        yield Row("the server itself, asked by wrk", limit, "calls/s", aside=aside, data=strangers)


def _against_bare(port: int, loop: str, count: int, times: int, strangers: dict[str, float]) -> Iterator[Row]:
    pairs = []
    for _ in range(times):  # in turns, so that both see the same noise
        ours = measure("triggers:ours", port=port, count=count, loop=loop)
        bare = measure("triggers:bare", port=port, count=count, loop=loop)
        pairs.append((ours, bare))
    ratio = statistics.median(bare["seconds"] / ours["seconds"] for ours, bare in pairs)
    cpu = statistics.median(bare["work"] / ours["work"] for ours, bare in pairs)
    ours, bare = (statistics.median(count / pair[which]["seconds"] for pair in pairs) for which in (0, 1))
    micro = statistics.median(pair[0]["work"] / count * 1e6 for pair in pairs)
    data = {"pairs": pairs, "cpu_ratio": cpu}
    aside = f"{ours:,.0f}/s, bare {bare:,.0f}/s; by CPU alone {cpu:.2f} x; {micro:.0f} us of CPU a trigger"
    yield Row(
        f"triggers, durable journal, {loop}", ratio, "x", f"bare aiohttp loop, {loop}", ("at least", 0.8), aside, data
    )
    goal = ("at least", 12.0)
    for name, wanted in (("xargs -P32 curl", goal), ("curl --parallel", None)):
        yield Row(f"triggers, durable journal, {loop}", ours / strangers[name], "x", name, wanted)


def _counted(port: int, count: int, times: int) -> Iterator[Row]:
    """What it costs to count each trigger against three limits, and to leave that to other processes."""
    extra = []
    for _ in range(times):
        free = measure("triggers:ours", port=port, count=count, loop=LOOPS[-1])
        counted = measure("triggers:ours", port=port, count=count, loop=LOOPS[-1], limited=True)
        extra.append((counted["work"] - free["work"]) / count * 1e6)
    yield Row("three limits, counted for each trigger", statistics.median(extra), "us", "no limit")


def _without_disk(port: int, count: int, times: int) -> Iterator[Row]:
    shares = []
    for _ in range(times):
        durable = measure("triggers:ours", port=port, count=count, loop=LOOPS[-1])
        memory = measure("triggers:ours", port=port, count=count, loop=LOOPS[-1], durable=False)
        shares.append((durable, memory))
    share = statistics.median(1.0 - memory["seconds"] / durable["seconds"] for durable, memory in shares)
    micro = statistics.median((d["seconds"] - m["seconds"]) / count * 1e6 for d, m in shares)
    yield Row(
        "the journal's share of the time of a trigger",
        share * 100,
        "%",
        "journal in memory",
        aside=f"{micro:.0f} us a trigger",
    )


def ours(
    port: int, count: int, loop: str, durable: bool = True, begun: Begun = nothing, limited: bool = False
) -> dict[str, Any]:
    """Triggers every target of a run with the engine, until nothing is left to trigger."""
    with tempfile.TemporaryDirectory(prefix="benchmark-journal-") as folder:
        limits = drive.COUNTED if limited else drive.UNLIMITED
        return _on(loop, _ours(drive.account(port, CONNECTIONS, limits), count, folder if durable else None, begun))


async def _ours(to: Account, count: int, folder: str | None, begun: Begun) -> dict[str, Any]:
    # start-up is another row's
    import_module("orchestrator.providers.kit.transport")
    import_module("orchestrator.providers.travis.provider")

    async with drive.journal_in(folder, time.time) as journal:
        await drive.make(journal, drive.targets(count, marked=False), to, time.time())
        begun()
        began, worked = time.monotonic(), time.process_time()
        code = await drive.engine(journal, time.time, ticks=time.monotonic, detach=True).run()
        seconds, work = time.monotonic() - began, time.process_time() - worked
        rows = await journal.read(drive.RUN, {}, 10_000_000)
        triggered = sum(type(row.event).__name__ == "Requested" for row in rows)
        if triggered != count:
            raise AssertionError(f"{triggered} of {count} were triggered, exit {code}")
        return {"seconds": seconds, "work": work}


def bare(port: int, count: int, loop: str, begun: Begun = nothing) -> dict[str, Any]:
    """The same calls by as many workers that read and parse each answer, and keep nothing."""
    return _on(loop, _bare(port, count, begun))


async def _bare(port: int, count: int, begun: Begun) -> dict[str, Any]:
    import aiohttp
    from yarl import URL

    bodies = [(target.repo, _body(target)) for target in drive.targets(count)]
    waiting = iter(bodies)
    accepted = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal accepted
        for repo, body in waiting:
            url = URL(f"http://127.0.0.1:{port}/repo/{quote(repo, safe='')}/requests", encoded=True)
            async with session.post(url, data=json.dumps(body)) as response:
                answer = json.loads(await response.read())
                accepted += response.status == 202 and answer["request"]["id"] > 0

    begun()
    began, worked = time.monotonic(), time.process_time()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        await asyncio.gather(*(work(session) for _ in range(CONNECTIONS)))
    if accepted != count:
        raise AssertionError(f"{accepted} of {count} were accepted")
    return {"seconds": time.monotonic() - began, "work": time.process_time() - worked}


def _body(target: Any) -> dict[str, Any]:
    """As many bytes as ours sends: the message is the run's name."""
    return {"request": {"branch": target.branch, "message": drive.NAME}}


def _on(loop: str, main: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def _strangers(port: int, quick: bool) -> dict[str, float]:
    """Calls a second of other people's programs."""
    few, many, seconds = (100, 1_000, 1) if quick else (600, 5_000, 3)
    return {
        "xargs -P32 curl": _median(lambda: _xargs(port, few), 1 if quick else 3),
        "curl --parallel": _median(lambda: _parallel(port, many), 1 if quick else 3),
        "wrk": _wrk(port, seconds),
    }


def _median(once: Callable[[], float], times: int) -> float:
    return statistics.median(once() for _ in range(times))


def _flags() -> list[str]:
    headers = [word for name, value in HEADERS.items() for word in ("-H", f"{name}: {value}")]
    return ["-s", "-o", "/dev/null", *headers, "-d", json.dumps(_body(drive.targets(1)[0]))]


def _urls(port: int, count: int) -> str:
    return "".join(f"http://127.0.0.1:{port}/repo/{quote(t.repo, safe='')}/requests\n" for t in drive.targets(count))


def _xargs(port: int, count: int) -> float:
    began = time.monotonic()
    argv = [tool("xargs"), "-P32", "-n1", tool("curl"), *_flags()]
    subprocess.run(argv, input=_urls(port, count), text=True, check=True)
    return count / (time.monotonic() - began)


def _parallel(port: int, count: int) -> float:
    flags = [word for word in _flags() if word not in ("-o", "/dev/null")]
    config = "".join(f'url = "{url}"\noutput = /dev/null\n' for url in _urls(port, count).splitlines())
    argv = [tool("curl"), "--parallel", "--parallel-max", str(CONNECTIONS), "--no-progress-meter", *flags]
    began = time.monotonic()
    said = subprocess.run(
        [*argv, "-w", "%{http_code}\n", "-K", "-"], input=config, text=True, check=True, stdout=subprocess.PIPE
    )
    if said.stdout.split() != ["202"] * count:
        raise Failed("curl --parallel: not every call was accepted")
    return count / (time.monotonic() - began)


def _wrk(port: int, seconds: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK.format(body=json.dumps(_body(drive.targets(1)[0]))))
        script.flush()
        url = f"http://127.0.0.1:{port}/repo/acme%2Fservice-000001/requests"
        argv = [tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script.name, url]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s*([\d.]+)", said)
    if found is None or "Non-2xx" in said:
        raise Failed(f"wrk said nothing usable:\n{said}")
    return float(found[1])
