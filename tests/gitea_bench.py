"""The providers of Gitea and Forgejo over their look-alikes in memory, for tests."""

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account
from orchestrator.core.rehearsal import Rehearsal
from orchestrator.lookalike.gitea import ForgejoLookAlike, GiteaLookAlike
from orchestrator.lookalike.gitea.settings import RepoSpec
from orchestrator.providers.gitea.declaration import DECLARATION, FORGEJO
from orchestrator.testing.bench import Bench, LookAlikeService

REPOS = tuple(f"acme/svc-{n:03}" for n in range(1, 40))
MANY = tuple(f"many/svc-{n:03}" for n in range(120))
BRANCHES = ("main", *(f"release/{n}" for n in range(70)))
PAGE = "https://git.example/api/swagger"


def said(status, message):
    """An error in the form of both services."""
    return Answer(status, {"message": message, "url": PAGE})


class GiteaService(LookAlikeService):
    """Args: the settings of the look-alike, and what each of its repositories is like."""

    declaration = DECLARATION
    look_alike = GiteaLookAlike
    account = Account("gitea", "gitea", "http://127.0.0.1:9")
    step = 1.0
    failing = "acme/fails"
    owner, repos = "many", MANY
    branched, branches = "acme/branchy", BRANCHES
    renamed = ("acme/old", "acme/new")
    empty_receipts = (204,)
    refusals = (
        (said(403, "user should have a permission to write to a repo"), Rejected, ""),
        (said(403, "workflow is disabled"), Rejected, ""),
        (said(404, 'ref "main" doesn\'t exist'), Rejected, ""),
        (said(404, "The target couldn't be found."), Rejected, ""),
        (said(422, "ref is required parameter"), Rejected, ""),
        (said(401, "invalid username, password or token"), AccessRefused, "account"),
        (
            Answer(403, {"message": "token does not have at least one of required scope(s): [write:repository]"}),
            AccessRefused,
            "account",
        ),
        (Answer(429, "slow down", {"retry-after": "7"}), RateLimited, "account"),
    )

    def __init__(self, spec=None, **settings):
        kind = type(self).look_alike
        specs = [RepoSpec(slug, **(spec or {})) for slug in (*REPOS, self.failing, *MANY)]
        specs += [RepoSpec(self.branched, branches=BRANCHES), RepoSpec("acme/old", moved_to="acme/new")]
        given = {"queue": (1.0, 1.0), "build": (9.0, 9.0), **settings}
        told = Rehearsal(fails=(self.failing,))
        super().__init__(kind(kind.kind(repos=tuple(specs), rehearsal=told, **given)), REPOS)

    def target(self):
        return replace(super().target(), request={"workflow": "ci.yml"})


class ForgejoService(GiteaService):
    declaration = FORGEJO
    look_alike = ForgejoLookAlike
    account = Account("forgejo", "forgejo", "http://127.0.0.1:9")
    echoes = False


KINDS = (GiteaService, ForgejoService)


def bench(kind=GiteaService, spec=None, **settings):
    return Bench(kind(spec, **settings))
