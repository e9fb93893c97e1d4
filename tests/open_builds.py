"""A Travis of which only what following needs is there, as values and not as bytes: thousands of builds for a day."""

from array import array
from datetime import UTC, datetime
from heapq import heappop, heappush

from orchestrator.core.calls import Answer

PAGE = 100


class OpenBuilds:
    """Every trigger becomes a build at once, which runs for as long as is said.

    Args:
        runs: seconds that a build runs, by repository.

    Attributes:
        triggers: when each came, and `calls`, when each call did.
        ended: by repository, when its build did.
    """

    def __init__(self, now, runs):
        self.now = now
        self.runs = runs
        self.triggers, self.calls = array("d"), array("d")
        self.ended = {}
        self._requests = {}
        self._builds = []
        self._active = {}
        self._ends = []

    async def send(self, call):
        self.calls.append(self.now())
        self._end()
        if call.method == "POST":
            return self._triggered(call)
        if call.path == "/user":
            return Answer(200, {"@type": "user", "id": 77, "login": "nightly"})
        if call.path == "/builds":
            return self._newest(int(dict(call.query).get("offset", 0)))
        if call.path.endswith("/active"):
            owner = call.path.split("/")[-2]
            builds = list(self._active.get(owner, {}).values())
            return Answer(200, {"@type": "active", "@href": call.path, "builds": builds})
        return Answer(200, self._requests[int(call.path.rpartition("/")[2])])

    def _triggered(self, call):
        self.triggers.append(self.now())
        slug, sent = call.repo, call.body["request"]
        owner, number = slug.partition("/")[0], len(self._builds) + 1
        repo = {"@type": "repository", "id": 10_000_000 + number, "slug": slug}
        build = {"@type": "build", "id": 20_000_000 + number, "number": "1", "state": "started", "finished_at": None}
        build |= {"started_at": _written(self.now()), "branch": {"name": "main"}, "request": {"id": number}}
        build["commit"] = {"sha": "0f3c", "message": sent["message"]}
        self._requests[number] = {
            "@type": "request", "id": number, "state": "finished", "result": "approved", "message": None,
            "repository": repo, "branch_name": "main", "commit": build["commit"], "builds": [build],
        }  # fmt: skip
        self._builds.append(build)
        self._active.setdefault(owner, {})[number] = build
        heappush(self._ends, (self.now() + self.runs(slug), number, owner, slug))
        return Answer(202, {"@type": "pending", "repository": repo, "request": {"id": number, **sent}})

    def _newest(self, offset):
        end = len(self._builds) - offset
        found = self._builds[max(0, end - PAGE) : max(0, end)][::-1]
        following = {"offset": offset + PAGE, "limit": PAGE} if end > PAGE else None
        pagination = {"limit": PAGE, "offset": offset, "next": following}
        return Answer(200, {"@type": "builds", "@href": "/builds", "builds": found, "@pagination": pagination})

    def _end(self):
        while self._ends and self._ends[0][0] <= self.now():
            at, number, owner, slug = heappop(self._ends)
            build = self._active[owner].pop(number)
            build |= {"state": "passed", "finished_at": _written(at)}
            self.ended[slug] = at


def _written(at):
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
