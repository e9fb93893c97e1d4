"""A server that misbehaves, and the program's real command line against it.

The server is the look-alike; whatever leaves it goes through a function of the test's, which may send anything instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from cli_machine import ENVIRON

from orchestrator.lookalike.kit.http import Incoming, Reply
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, Shares

MANIFEST = """version: 1
name: night
providers: {{travis: {{type: travis, url: '{url}', token: env:TRAVIS_TOKEN{limits}}}}}
defaults: {{branch: main, timeouts: {{settle: 1s, accept: 20s, reach: 20s}}}}
targets: {targets}
"""
LONGEST = 120.0  # seconds for one command


@dataclass
class Seen:
    """A call as the server had it: seconds since its start, and the repository's name where it is about one."""

    at: float
    method: str
    path: str
    said: dict
    repo: str


Spoil = Callable[[Seen, Callable[[], Reply]], Reply | bytes]


def faithful(seen: Seen, reply: Callable[[], Reply]) -> Reply:
    return reply()


def world(repos, *, failed=False, build=0.6, **more):
    """Settings of a service that knows these repositories, and is quick."""
    return Settings(
        repos=tuple(RepoSpec(repo) for repo in repos),
        process=(0.1, 0.2),
        build=(build, build),
        change=(0.1, 0.1),
        concurrency=200,
        shares=Shares(failed=1.0 if failed else 0.0),
        strict_branches=False,
        burst=None,
        minute=None,
        **more,
    )


@dataclass
class Server:
    """What the test asks of the server: where it is, what it was asked for, how it misbehaves from now on."""

    look_alike: TravisLookAlike
    spoil: Spoil
    began: float = field(default_factory=time.time)
    port: int = 0
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def triggers(self) -> list[Seen]:
        """The calls that ask for a build."""
        return [seen for seen in self.seen if seen.method == "POST" and seen.path.endswith("/requests")]

    @property
    def cancels(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST" and seen.path.endswith("/cancel")]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                writer.write(await self._answer(head, reader))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader) -> bytes:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path, _, query = target.partition("?")
        pieces = path.strip("/").split("/")
        repo = unquote(pieces[1]) if pieces[0] == "repo" and len(pieces) > 1 else ""
        said = json.loads(body)["request"] if path.endswith("/requests") and body else {}
        now = time.time()
        seen = Seen(now - self.began, method, path, said, repo)
        self.seen.append(seen)
        call = Incoming(method, path, parse_qsl(query, keep_blank_values=True), headers, body)
        found = self.spoil(seen, lambda: self.look_alike.handle(call, now))
        return found if isinstance(found, bytes) else as_sent(found)


def as_sent(reply: Reply) -> bytes:
    """The reply's bytes."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    headers = {"Date": date, **reply.headers, "Content-Length": str(len(reply.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode("latin-1") + reply.body


@contextmanager
def serve(settings: Settings, spoil: Spoil = faithful):
    """A server in a thread of its own, until the block ends."""
    server = Server(TravisLookAlike(settings), spoil)
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def live() -> None:
        listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        ready.set()
        await listening.serve_forever()

    def run() -> None:
        asyncio.set_event_loop(loop)
        task = loop.create_task(live())
        loop.call_soon_threadsafe(lambda: None)
        tasks.append(task)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            for left in asyncio.all_tasks(loop):
                left.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    tasks: list[asyncio.Task[None]] = []
    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(tasks[0].cancel)
        thread.join()


class Shell:
    """Commands in a folder of their own, as a person types them: `code`, `out` and `err` are the last one's."""

    def __init__(self, folder, server=None, **environ):
        self.folder, self.server = folder, server
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ENVIRON["PYTHONPATH"],
            "HOME": str(folder),
            "TRAVIS_TOKEN": server.look_alike.settings.token if server else "dummy-token",
            "NO_COLOR": "1",
            **environ,
        }
        self.code, self.out, self.err = 0, "", ""

    def manifest(self, *targets, name="manifest.yaml", limits=""):
        text = MANIFEST.format(
            url=self.server.url, targets=json.dumps(list(targets), ensure_ascii=False), limits=limits
        )
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def __call__(self, *words, **environ):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST,
            check=False,
        )
        self.code = done.returncode
        self.out, self.err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return self.code

    def report(self, name="r.json"):
        """The report that the last run wrote there."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))
