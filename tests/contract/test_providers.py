"""Every provider of this package keeps the contract, over its look-alike."""

import pytest
from buildbot_bench import in_state, with_requests
from buildkite_bench import BuildkiteService
from fake_service import FAKE, FakeProvider, FakeService
from gitea_bench import ForgejoService, GiteaService
from jenkins_bench import JenkinsService
from preparing import NumberedService, PreparingProvider

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Learnt, Target
from orchestrator.core.rehearsal import Rehearsal
from orchestrator.lookalike.buildbot import BuildbotLookAlike
from orchestrator.lookalike.buildbot.settings import RepoSpec as BuildbotRepo
from orchestrator.lookalike.buildbot.settings import Settings as BuildbotSettings
from orchestrator.lookalike.github import GitHubLookAlike
from orchestrator.lookalike.github.settings import RepoSpec as GitHubRepo
from orchestrator.lookalike.github.settings import Settings as GitHubSettings
from orchestrator.lookalike.gitlab import GitLabLookAlike
from orchestrator.lookalike.gitlab.settings import RepoSpec as GitLabRepo
from orchestrator.lookalike.gitlab.settings import Settings as GitLabSettings
from orchestrator.lookalike.travis import TravisLookAlike
from orchestrator.lookalike.travis.settings import RepoSpec, Settings
from orchestrator.lookalike.webhook import USUAL, WebhookLookAlike
from orchestrator.providers import registry
from orchestrator.providers.buildbot.declaration import DECLARATION as BUILDBOT
from orchestrator.providers.github.declaration import DECLARATION as GITHUB
from orchestrator.providers.gitlab.declaration import DECLARATION as GITLAB
from orchestrator.providers.travis.declaration import DECLARATION as TRAVIS
from orchestrator.providers.webhook.declaration import DECLARATION as WEBHOOK
from orchestrator.testing.bench import SECRET, Bench, reworded
from orchestrator.testing.contract import LookAlikeService, ProviderContract, Service

MANY = tuple(RepoSpec(f"many/svc-{n:03}") for n in range(250))
BRANCHES = ("main", *(f"release/{n}" for n in range(130)))


def limited(**told):
    return Answer(429, {"@type": "error", "error_type": "request_limit_reached", **told})


def rpc_error(status, code, message):
    """Buildbot's answer to a call that it refuses."""
    return Answer(status, {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}})


class TravisService(LookAlikeService):
    declaration = TRAVIS
    account = Account("travis", "travis", "http://127.0.0.1:9")
    step = 1.0
    owner, repos = "many", [spec.slug for spec in MANY]
    branched, branches = "acme/branchy", BRANCHES
    failing = "acme/fails"
    refusals = (
        (Answer(403, "access denied"), AccessRefused, "account"),
        (Answer(403, "Forbidden\n"), AccessRefused, "account"),
        (limited(), RateLimited, "repo:acme/svc-001"),
        (Answer(429, "Retry later\n"), RateLimited, "account"),
        (Answer(404, {"@type": "error", "error_type": "repository_inactive"}), Rejected, ""),
    )
    taught = (
        (
            limited(max_requests=5, per_seconds=1800),
            Learnt("triggers_per_repo", "repo:acme/svc-001", calls=5, per=1800.0, left=0),
        ),
        (
            Answer(202, {"request": {"id": 1}, "remaining_requests": 3}),
            Learnt("triggers_per_repo", "repo:acme/svc-001", left=2),
        ),
    )

    def __init__(self):
        mine = tuple(RepoSpec(f"acme/svc-{n:03}") for n in range(1, 20))
        repos = (*mine, RepoSpec("acme/branchy", branches=BRANCHES), RepoSpec(self.failing), *MANY)
        told = Rehearsal(fails=(self.failing,))
        settings = Settings(repos=repos, burst=None, minute=None, process=(1.0, 1.0), build=(9.0, 9.0), rehearsal=told)
        super().__init__(TravisLookAlike(settings), [spec.slug for spec in mine])


GITHUB_MANY = tuple(GitHubRepo(f"many/svc-{n:03}") for n in range(250))
EMPTIED = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1800"}
SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
FORBIDDEN = {"message": "Resource not accessible by personal access token"}
CORE = {"x-ratelimit-resource": "core", "x-ratelimit-limit": "15000", "x-ratelimit-remaining": "14000"}


class GitHubService(LookAlikeService):
    declaration = GITHUB
    account = Account("github", "github", "http://127.0.0.1:9")
    step = 1.0
    failing = "acme/fails"
    owner, repos = "many", [spec.slug for spec in GITHUB_MANY]
    branched, branches = "acme/branchy", BRANCHES
    renamed = ("acme/old", "acme/new")
    empty_receipts = (204,)
    refusals = (
        (Answer(403, FORBIDDEN), Rejected, ""),
        (Answer(403, SECONDARY), RateLimited, "account"),
        (Answer(429, SECONDARY), RateLimited, "account"),
        (Answer(403, {"message": "API rate limit exceeded for user ID 7."}, EMPTIED), RateLimited, "account"),
        (Answer(401, {"message": "Bad credentials"}), AccessRefused, "account"),
        (Answer(404, {"message": "Not Found"}), Rejected, ""),
        (Answer(422, {"message": "No ref found for: main"}), Rejected, ""),
    )
    taught = ((Answer(404, {"message": "Not Found"}, CORE), Learnt("calls", "account", 15000, 3600.0, 14000)),)

    def __init__(self):
        mine = tuple(GitHubRepo(f"acme/svc-{n:03}") for n in range(1, 20))
        special = GitHubRepo("acme/branchy", branches=BRANCHES), GitHubRepo("acme/old", moved_to="acme/new")
        repos = (*mine, *special, GitHubRepo(self.failing), *GITHUB_MANY)
        told, quick = Rehearsal(fails=(self.failing,)), {"queue": (1.0, 1.0), "build": (9.0, 9.0)}
        settings = GitHubSettings(repos=repos, points=10**6, rehearsal=told, **quick)
        super().__init__(GitHubLookAlike(settings), [spec.slug for spec in mine])

    def target(self):
        return replace(super().target(), request={"workflow": "ci.yml"})


GITLAB_MANY = tuple(GitLabRepo(f"many/deep/svc-{n:03}") for n in range(250))
FORBIDDEN_VARIABLES = {"message": {"base": ["Insufficient permissions to set pipeline variables"]}}
TOO_MANY = {"message": {"base": ["Too many pipelines created in the last minute. Try again later."]}}
THROTTLED = {"ratelimit-limit": "2000", "ratelimit-remaining": "1990"}


class GitLabService(LookAlikeService):
    declaration = GITLAB
    account = Account("gitlab", "gitlab", "http://127.0.0.1:9")
    step = 1.0
    failing = "acme/fails"
    owner, repos = "many", [spec.slug for spec in GITLAB_MANY]
    branched, branches = "acme/deep/branchy", BRANCHES
    renamed = ("acme/old", "acme/deep/new")
    refusals = (
        (Answer(400, {"message": {"base": ["Reference not found"]}}), Rejected, ""),
        (Answer(400, FORBIDDEN_VARIABLES), Rejected, ""),
        (Answer(400, TOO_MANY), RateLimited, "repo:acme/svc-001"),
        (Answer(401, {"message": "401 Unauthorized"}), AccessRefused, "account"),
        (Answer(403, {"message": "403 Forbidden"}), Rejected, ""),
        (Answer(403, {"error": "insufficient_scope", "scope": "api"}), AccessRefused, "account"),
        (Answer(403, "Forbidden\n"), AccessRefused, "account"),
        (Answer(404, {"message": "404 Project Not Found"}), Rejected, ""),
        (Answer(429, "Retry later\n"), RateLimited, "account"),
    )
    taught = ((Answer(404, {"message": "x"}, THROTTLED), Learnt("calls", "account", 2000, 60.0, 1990)),)

    def __init__(self):
        mine = tuple(GitLabRepo(f"acme/svc-{n:03}") for n in range(1, 20))
        special = GitLabRepo(self.branched, branches=BRANCHES), GitLabRepo("acme/old", moved_to="acme/deep/new")
        repos = (*mine, *special, GitLabRepo(self.failing), *GITLAB_MANY)
        told, quick = Rehearsal(fails=(self.failing,)), {"queue": (1.0, 1.0), "build": (9.0, 9.0)}
        settings = GitLabSettings(repos=repos, calls=0, projects=0, creates=0, rehearsal=told, **quick)
        super().__init__(GitLabLookAlike(settings), [spec.slug for spec in mine])


class BuildbotService(LookAlikeService):
    declaration = BUILDBOT
    account = Account("buildbot", "buildbot", "http://127.0.0.1:9")
    step = 1.0
    failing = "acme/fails"
    refusals = (
        (rpc_error(403, -32600, "you need to have role 'operators'"), Rejected, ""),
        (rpc_error(400, -32602, {"outcome": "invalid literal"}), Rejected, ""),
        (rpc_error(500, -32603, "KeyError('builderNames not specified or not supported')"), Rejected, ""),
        (rpc_error(500, -32603, "AttributeError(\"'NoneType' object has no attribute 'force'\")"), Rejected, ""),
        (Answer(429, {"error": "slow down"}, {"retry-after": "1"}), RateLimited, "account"),
        (Answer(401, "Unauthorized"), AccessRefused, "account"),
    )

    def __init__(self):
        mine = tuple(BuildbotRepo(f"acme/svc-{n:03}") for n in range(1, 20))
        told, quick = Rehearsal(fails=(self.failing,)), {"queue": (1.0, 1.0), "build": (9.0, 9.0)}
        settings = BuildbotSettings(repos=(*mine, BuildbotRepo(self.failing)), rehearsal=told, **quick)
        super().__init__(BuildbotLookAlike(settings), [spec.slug for spec in mine])

    def target(self):
        return replace(super().target(), request={"scheduler": "force"})

    def in_state(self, body, native):
        return with_requests(body, lambda row: {**row, **in_state(native)})


class WebhookService(LookAlikeService):
    account = Account("webhook", "webhook", "http://127.0.0.1:9", "env:T", settings=USUAL)
    declaration = WEBHOOK.for_account(WEBHOOK, account)
    step = 1.0
    echoes, selects = False, True
    refusals = (
        (Answer(401, {"message": "who?"}), AccessRefused, "account"),
        (Answer(429, {"message": "slow down"}), RateLimited, "account"),
        (Answer(404, {"message": "no such repository"}), Rejected, ""),
        (Answer(422, {"message": "no such ref"}), Rejected, ""),
    )

    def __init__(self):
        mine = [f"acme/svc-{n:03}" for n in range(1, 20)]
        given = {"repos": mine, "queue": 1, "build": 9, "token": SECRET}
        super().__init__(WebhookLookAlike.from_settings(given), mine)


class OverFake(Service):
    declaration = FAKE
    account = Account("fake", "fake", FAKE.url)
    echoes = False
    refusals = (
        (Answer(403, "access denied"), AccessRefused, "account"),
        (Answer(403, "no_credit"), AccessRefused, "owner:acme"),
        (Answer(429, 7.0), RateLimited, "repo:acme/svc-1"),
        (Answer(404, "not found"), Rejected, ""),
    )
    kind = FakeProvider

    def __init__(self):
        self.service = FakeService(latency=0.0)
        self.made = 0

    def provider(self, send):
        return self.kind(self.account, send)

    async def send(self, call):
        return await self.service.send(call)

    def now(self):
        return self.service.now()

    def wait(self, seconds):
        self.service.epoch += seconds

    def target(self):
        self.made += 1
        return Target(f"fake:acme/svc-{self.made}", "fake", f"acme/svc-{self.made}")

    def accepted(self, target):
        return sum(one.repo == target.repo for one in self.service.requests)


class OverPreparing(OverFake):
    kind = PreparingProvider

    def __init__(self):
        super().__init__()
        self.service = NumberedService(latency=0.0)


SERVICES = {
    "travis": TravisService,
    "github": GitHubService,
    "gitea": GiteaService,
    "forgejo": ForgejoService,
    "gitlab": GitLabService,
    "buildbot": BuildbotService,
    "jenkins": JenkinsService,
    "buildkite": BuildkiteService,
    "webhook": WebhookService,
    "fake": OverFake,
    "fake that prepares": OverPreparing,
}


@pytest.mark.anyio
@pytest.mark.parametrize("type_", [type_ for type_ in registry.PROVIDERS if type_ != "webhook"])
async def test_a_doubt_shows_the_build_that_may_be_it(type_):
    bench = Bench(SERVICES[type_]())
    trigger, asked = await bench.lose("lost_after")
    bench.rewrite = lambda body: reworded(body, lambda word: str(trigger.marker) in word, None)
    doubt = await bench.find(trigger, asked)
    assert isinstance(doubt, InDoubt)
    [build] = doubt.builds
    assert build.url.startswith("http")
    assert build.state is not None
    assert f"; the newest: {build.url}" in doubt.cause


@pytest.mark.anyio
@pytest.mark.parametrize("type_", ["github", "gitlab", "gitea", "forgejo"])
async def test_a_repository_that_leads_elsewhere_is_refused_alone(type_):
    bench = Bench(SERVICES[type_]())
    target = replace(bench.service.target(), branch=None)
    elsewhere = AccessRefused("redirected", "to another host")
    found = await bench.outcome(elsewhere, lambda: bench.provider.prepare(target))
    assert isinstance(found, Rejected)
    assert (found.code, found.reason) == ("redirected", "to another host")


def test_every_provider_of_the_package_stands_here():
    assert registry.PROVIDERS.keys() <= SERVICES.keys()


class TestOurs(ProviderContract):
    @pytest.fixture(params=SERVICES)
    def service(self, request):
        return SERVICES[request.param]()
