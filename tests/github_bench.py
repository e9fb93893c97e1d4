"""GitHub's provider over its look-alike in memory, for tests."""

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account
from orchestrator.lookalike.github import GitHubLookAlike
from orchestrator.lookalike.github.settings import RepoSpec, Settings
from orchestrator.providers.github.declaration import DECLARATION
from orchestrator.testing.bench import Bench, LookAlikeService

REPOS = tuple(f"acme/svc-{n:03}" for n in range(1, 40))


class Service(LookAlikeService):
    """Args: what all targets say, and the look-alike's settings."""

    declaration = DECLARATION
    account = Account("github", "github", "http://127.0.0.1:9")
    step = 1.0
    settle = 60.0

    def __init__(self, said=None, spec=None, url="http://127.0.0.1:9", **settings):
        specs = tuple(RepoSpec(slug, **(spec or {})) for slug in REPOS)
        settings = {"points": 10**6, "queue": (1.0, 1.0), "build": (9.0, 9.0), "repos": specs, **settings}
        super().__init__(GitHubLookAlike(Settings(**settings)), REPOS)
        self.account = replace(self.account, url=url)
        self.said = {"workflow": "ci.yml"} if said is None else said

    def target(self):
        made = replace(super().target(), request=self.said)
        return replace(made, branch=None, id=f"github:{made.repo}") if "event" in self.said else made


def bench(said=None, spec=None, **settings):
    return Bench(Service(said, spec, **settings))
