"""Buildkite's provider over its look-alike in memory, as the contract drives it."""

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Learnt
from orchestrator.core.rehearsal import Rehearsal
from orchestrator.lookalike.buildkite import BuildkiteLookAlike
from orchestrator.lookalike.buildkite.settings import RepoSpec, Settings
from orchestrator.providers.buildkite.declaration import DECLARATION
from orchestrator.testing.bench import LookAlikeService

MANY = tuple(RepoSpec(f"many/svc-{n:03}") for n in range(250))
NO_SCOPE = {"message": "Forbidden. Your access token doesn't have the write_builds scope"}
SPENT = {"message": "You have exceeded your API rate limit.", "reset": 42}
USER = {"ratelimit-user-limit": "60", "ratelimit-user-remaining": "35", "ratelimit-user-reset": "42"}
TEAM = {"ratelimit-limit": "300", "ratelimit-remaining": "80", "ratelimit-reset": "42"}


class BuildkiteService(LookAlikeService):
    declaration = DECLARATION
    account = Account("buildkite", "buildkite", "http://127.0.0.1:9")
    step = 1.0
    failing = "acme/fails"
    owner, repos = "many", [spec.slug for spec in MANY]
    refusals = (
        (Answer(401, {"message": "Authentication required"}), AccessRefused, "account"),
        (Answer(403, NO_SCOPE), AccessRefused, "account"),
        (Answer(403, {"message": "Forbidden"}), Rejected, ""),
        (Answer(404, {"message": "No pipeline found"}), Rejected, ""),
        (Answer(422, {"message": "Validation Failed", "errors": [{"field": "branch"}]}), Rejected, ""),
        (Answer(429, {**SPENT, "scope": "rest_user"}), RateLimited, "account"),
        (Answer(429, {**SPENT, "scope": "rest"}), RateLimited, "owner:acme"),
    )
    taught = (
        (Answer(404, {"message": "x"}, USER), Learnt("calls", "account", 60, 60.0, 35, 43.0)),
        (Answer(404, {"message": "x"}, TEAM), Learnt("calls_per_organization", "owner:acme", 300, 60.0, 80, 43.0)),
    )

    def __init__(self, said=None, spec=None, **settings):
        mine = tuple(RepoSpec(f"acme/svc-{n:03}", **(spec or {})) for n in range(1, 40))
        told, quick = Rehearsal(fails=(self.failing,)), {"queue": (1.0, 1.0), "build": (9.0, 9.0)}
        free = {"user_calls": 10**6, "calls": 10**6, "rehearsal": told, **quick, **settings}
        look_alike = BuildkiteLookAlike(Settings(repos=(*mine, RepoSpec(self.failing), *MANY), **free))
        super().__init__(look_alike, [spec.slug for spec in mine])
        self.said = said or {}

    def target(self):
        made = super().target()  # without a branch, so that `prepare` has something to look up
        return replace(made, branch=None, id=f"buildkite:{made.repo}", request=self.said)
