"""The look-alike against 70 answers that the real server gave: status, headers, keys, JSON types, and most values.

What stays different is the table of `docs/sandbox.md`; a line of it that differs no longer fails, too.
"""

import json
import re
from urllib.parse import parse_qsl

import pytest

from orchestrator.lookalike.kit.http import Incoming
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings

START = 1_800_000_000.0
TOKEN = "T0KEN"
NAMES = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number", type(None): "null"}
FREE = {"request.config", "request.raw_configs", "job.config"}  # what a user wrote, not the API
MADE_UP = re.compile(r"(id|_id|_at|host|key|name|login|email|slug|sha|ref|_url|commit\.message|build\.number|@href)$")
HEADERS = ("content-type", "x-endpoint", "x-oauth-scopes", "vary")
SHOW = re.compile(r"^/(build|job)/(\d+)|^/repo/\d+/(request)/(\d+)")


class Replay:
    """A world with the recorder's repositories, to which its calls are made again, in its order."""

    def __init__(self):
        repos = [RepoSpec(f"acme/r{n}", id=n) for n in range(1, 401)]
        repos[12] = RepoSpec("acme/r13", id=13, rejects="Build skipped via commit message")
        pace = {"process": (1.0, 1.0), "build": (3.0, 3.0), "change": (0.5, 0.5), "concurrency": 1}
        repos.append(RepoSpec("acme/off", id=401, active=False))
        settings = Settings(repos=tuple(repos), token=TOKEN, login="robot", strict_branches=False, **pace)
        self.world = TravisLookAlike(settings, began=START)
        self.now = START
        self.ids = {}  # (type, recorded id) -> id here

    def before(self, name):
        """What the recorder did, or how long it waited, before that call."""
        match name:
            case "limit 9":
                self.posts(8, 4)
            case "hourly limit":
                self.posts(1, 4)
            case "request, build started":
                self.now = START + 2
            case "request, build passed":
                self.now = START + 60
                self.world.advance(self.now)
                next(row for row in self.world.counters.accepted if row.repo.id == 13).commit = None
            case "again":
                self.now = START + 60.6
            case "cancel running":
                self.now = START + 62
                self.world.advance(self.now)
                self.ids["build", "857"] = self.world.counters.accepted[-1].builds[0].id
            case "build canceled":
                self.now = START + 62.6
            case "banned POST":
                self.now = START + 120
                self.posts(50, 300)
            case "throttled":
                for _ in range(500):
                    self.call({"method": "GET", "path": "/nowhere2", "headers": {"Travis-API-Version": "3"}})

    def posts(self, count, repo):
        for n in range(count):
            headers = {"Travis-API-Version": "3", "Authorization": f"token {TOKEN}"}
            body = {"request": {"branch": f"b{n}"}}
            self.call({"method": "POST", "path": f"/repo/{repo}/requests", "headers": headers, "body": body})

    def call(self, call):
        path, _, query = call["path"].partition("?")
        body = call.get("body")
        raw = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {name.lower(): value for name, value in call["headers"].items()}
        pairs = parse_qsl(query, keep_blank_values=True)
        return self.world.handle(Incoming(call["method"], self.here(path), pairs, headers, raw), self.now)

    def here(self, path):
        found = SHOW.match(path)
        kind, id_ = (found[1] or found[3], found[2] or found[4]) if found else ("", "")
        known = self.ids.get((kind, id_))
        return path if known is None else path.replace(f"/{kind}/{id_}", f"/{kind}/{known}")

    def learn(self, recorded, found):
        """Which id here is which of the recorded ones."""
        if isinstance(recorded, dict) and isinstance(found, dict):
            kind = recorded.get("resource_type" if recorded.get("@type") == "pending" else "@type")
            row, ours = (recorded, found) if "id" in recorded else (recorded.get(kind, {}), found.get(kind, {}))
            if "id" in row and "id" in ours:
                self.ids.setdefault((kind, str(row["id"])), ours["id"])
            for key in recorded.keys() & found.keys():
                self.learn(recorded[key], found[key])
        if isinstance(recorded, list) and isinstance(found, list):
            for one, other in zip(recorded, found, strict=False):
                self.learn(one, other)


def differences(recorded, found, where):
    if type(recorded) is not type(found):
        yield where, NAMES[type(recorded)], NAMES[type(found)]
    elif isinstance(recorded, dict):
        where = recorded.get("@type", where)
        for key in recorded:
            if key not in found:
                yield f"{where}.{key}", "there", "missing"
            elif recorded[key] and found[key] == {}:
                yield f"{where}.{key}", "full", "empty"
            elif f"{where}.{key}" not in FREE:
                yield from differences(recorded[key], found[key], f"{where}.{key}")
        for key in found.keys() - recorded.keys():
            yield f"{where}.{key}", "missing", "there"
    elif isinstance(recorded, list):
        for one, other in zip(recorded, found, strict=False):
            yield from differences(one, other, where)
    elif recorded != found and not MADE_UP.search(where):
        yield where, str(recorded), str(found)


def body_of(reply):
    try:
        return json.loads(reply.body)
    except ValueError:
        return reply.body.decode()


def recorded():
    with open(f"{__file__.rpartition('/')[0]}/data/travis-recorded.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def played():
    """Each recorded answer with the one that the look-alike gives."""
    replay, found = Replay(), []
    for entry in recorded():
        replay.before(entry["name"])
        call = entry["call"]
        said = call["headers"].get("Authorization", "")
        token = "nobody" if entry["name"] == "trigger bad token" else TOKEN
        headers = {**call["headers"], "Authorization": said.replace("…", token)} if said else call["headers"]
        reply = replay.call({**call, "headers": headers})
        replay.learn(entry["body"], body_of(reply))
        found.append((entry, reply))
    return found


def all_differences(played):
    for entry, reply in played:
        name = entry["name"]
        if entry["status"] != reply.status:
            yield f"status of `{name}`", str(entry["status"]), str(reply.status)
        theirs, ours = (
            {name.lower(): text for name, text in each.items()} for each in (entry["headers"], reply.headers)
        )
        for header in HEADERS:
            if theirs.get(header) != ours.get(header):
                yield f"`{header}` of `{name}`", theirs.get(header, "none"), ours.get(header, "none")
        for where, there, here in differences(entry["body"], body_of(reply), "body"):
            yield f"`{where}`", there, here


def documented(root):
    text = (root / "docs" / "sandbox.md").read_text().partition("| Where | Recorded | Here | Why |")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.partition("\n\n")[0].splitlines()[2:]
    ]
    return {(where, there, here) for where, there, here, _ in rows}


def test_the_recording_is_whole(played):
    assert len(played) == 70


def test_what_differs_from_the_real_server_is_exactly_what_the_docs_list(played, pytestconfig):
    assert set(all_differences(played)) == documented(pytestconfig.rootpath)
