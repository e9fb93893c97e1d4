"""A plain client of a sandbox world: values in, status and JSON out, its own clock."""

import json

from orchestrator.lookalike.kit.http import Incoming
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, numbered

START = 1_800_000_000.0  # a whole number of 30 s and 60 s windows
HEADERS = {
    "authorization": "token sandbox-token",
    "travis-api-version": "3",
    "content-type": "application/json",
    "accept": "application/json",
    "user-agent": "visitor/1",
}
WIDGET = "/repo/acme%2Fwidget"


class Visitor:
    def __init__(self, seed=1, **settings):
        settings.setdefault("repos", (RepoSpec("acme/widget", branches=("main", "release/2.x")), *numbered(20)))
        settings.setdefault("process", (2.0, 2.0))
        settings.setdefault("build", (60.0, 60.0))
        settings.setdefault("change", (1.0, 1.0))
        self.world = TravisLookAlike(Settings(seed=seed, **settings), began=START)
        self.now = START

    def call(self, method, path, query=(), headers=HEADERS, body=b""):
        pairs = tuple(query.items()) if isinstance(query, dict) else query
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.world.handle(Incoming(method, path, pairs, headers, raw), self.now)

    def get(self, path, **query):
        reply = self.call("GET", path, query)
        assert reply.status == 200, reply
        return json.loads(reply.body)

    def refused(self, method, path, query=(), body=b"", headers=HEADERS):
        reply = self.call(method, path, query, headers, body)
        return reply.status, json.loads(reply.body)

    def create(self, path=WIDGET, **request):
        reply = self.call("POST", f"{path}/requests", body={"request": request})
        assert reply.status == 202, reply
        return json.loads(reply.body)

    def later(self, seconds):
        self.now += seconds
        return self

    def request(self, id_, **query):
        return self.get(f"/repo/0/request/{id_}", **query)

    def build_of(self, id_):
        return self.request(id_)["builds"][0]
