"""Buildbot's provider over its look-alike in memory, for tests."""

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account
from orchestrator.lookalike.buildbot import BuildbotLookAlike
from orchestrator.lookalike.buildbot.settings import RepoSpec, Settings
from orchestrator.providers.buildbot.declaration import DECLARATION, RESULTS
from orchestrator.testing.bench import Bench, LookAlikeService

REPOS = tuple(f"acme/svc-{n:03}" for n in range(1, 40))
HERE = "http://127.0.0.1:9"


def in_state(native):
    """What a buildrequest shows in this state."""
    if native in ("unclaimed", "claimed"):
        return {"claimed": native == "claimed", "complete": False, "results": -1}
    return {"claimed": True, "complete": True, "results": RESULTS.index(native) if native in RESULTS else native}


def with_requests(body, changed):
    """The body of an answer, with each buildrequest in it changed."""
    if not isinstance(body, dict) or "buildrequests" not in body:
        return body
    return {**body, "buildrequests": [changed(row) for row in body["buildrequests"]]}


class Service(LookAlikeService):
    """Args: what all targets say, the account's settings, and the look-alike's."""

    declaration = DECLARATION
    step = 1.0
    settle = 5.0

    def __init__(self, said=None, account=None, url=HERE, repos=REPOS, **settings):
        specs = tuple(RepoSpec(slug) for slug in repos)
        settings = {"queue": (1.0, 1.0), "build": (9.0, 9.0), "repos": specs, **settings}
        super().__init__(BuildbotLookAlike(Settings(**settings)), repos)
        self.account = Account("buildbot", "buildbot", url, settings=account or {})
        self.said = {"scheduler": "force", **(said or {})}

    def target(self):
        return replace(super().target(), request=self.said)


def bench(said=None, account=None, **settings):
    return Bench(Service(said, account, **settings))
