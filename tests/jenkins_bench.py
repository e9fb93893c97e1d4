"""Jenkins' provider over its look-alike in memory, as the contract drives it."""

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, RateLimited, Rejected
from orchestrator.core.model import Account
from orchestrator.core.rehearsal import Rehearsal
from orchestrator.lookalike.jenkins import JenkinsLookAlike
from orchestrator.lookalike.jenkins.settings import RepoSpec, Settings
from orchestrator.providers.jenkins.declaration import DECLARATION
from orchestrator.testing.bench import LookAlikeService

BRANCHES = ("main", *(f"release/{n}" for n in range(130)))
MANY = tuple(RepoSpec(f"many/svc-{n:03}") for n in range(250))
JENKINS = {"x-jenkins": "2.528.1"}


class JenkinsService(LookAlikeService):
    declaration = DECLARATION
    account = Account("jenkins", "jenkins", "http://127.0.0.1:9", settings={"user": "sandbox"})
    step = 1.0
    failing = "acme/fails"
    echoes = False
    owner, repos = "many", [spec.slug for spec in MANY]
    branched, branches = "acme/branchy", BRANCHES
    refusals = (
        (Answer(403, "the user is missing the Job/Build permission", JENKINS), Rejected, ""),
        (Answer(401, "Unauthorized"), AccessRefused, "account"),
        (Answer(400, "acme/svc is not parameterized", JENKINS), Rejected, ""),
        (Answer(404, "Not Found", JENKINS), Rejected, ""),
        (Answer(409, "svc is not buildable", JENKINS), Rejected, ""),
        (Answer(302, "", {"location": "."}), Rejected, ""),
        (Answer(403, "No valid crumb was included in the request", JENKINS), RateLimited, "account"),
    )

    def __init__(self):
        mine = tuple(RepoSpec(f"acme/svc-{n:03}") for n in range(1, 20))
        repos = (*mine, RepoSpec("acme/branchy", branches=BRANCHES), RepoSpec(self.failing), *MANY)
        told, quick = Rehearsal(fails=(self.failing,)), {"queue": (1.0, 1.0), "build": (9.0, 9.0)}
        settings = Settings(repos=repos, rehearsal=told, **quick)
        super().__init__(JenkinsLookAlike(settings), [spec.slug for spec in mine])

    def in_state(self, body, native):
        if isinstance(body, dict) and "building" in body:
            is_over = native != "building"
            return {**body, "building": not is_over, "result": native if is_over else None}
        return body
