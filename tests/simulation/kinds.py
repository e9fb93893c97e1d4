"""The types of services: how a seed draws one, what a target says to it, and how its counters are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Account, Json, Limit, Target
from orchestrator.lookalike.buildbot import settings as buildbot
from orchestrator.lookalike.buildkite import settings as buildkite
from orchestrator.lookalike.gitea import settings as gitea
from orchestrator.lookalike.github import settings as github
from orchestrator.lookalike.gitlab import settings as gitlab
from orchestrator.lookalike.jenkins import settings as jenkins
from orchestrator.lookalike.kit.life import Stage
from orchestrator.lookalike.travis.settings import RepoSpec
from orchestrator.lookalike.travis.settings import Settings as Travis
from orchestrator.lookalike.webhook import USUAL
from orchestrator.lookalike.webhook import Settings as Webhook
from orchestrator.providers import registry
from orchestrator.providers.port import Declaration

from .dice import Dice

OWN, OTHER, STRANGER = "sandbox-token", "other-token", "stranger-token"
USER = "sandbox"  # whose that token is
ALIKE = ("build", "change", "latency", "lag", "patience", "concurrency")  # settings that all have
End = Callable[[float, object, str], None]
Again = Callable[[float, object], None]


class Site(Struct, frozen=True):
    """An account, and the service that it is on.

    Args:
        name: of the account.
        world: of the service; several accounts may share one.
        token: with which the account calls.
        settings: of the service's look-alike.
        keys: what stands in the account beside what every account has.
        odd: repositories that cannot be triggered there.
        is_told: whether the limits of the account are all that the service enforces; else it meets some unawares.
        reference: to the token, where one must be written.
    """

    name: str
    type: str
    world: str
    url: str
    token: str
    limits: tuple[Limit, ...]
    connections: int
    settings: Any
    keys: Mapping[str, Json] = {}
    odd: frozenset[str] = frozenset()
    is_told: bool = True
    reference: str | None = None

    @property
    def account(self) -> Account:
        """As a manifest has it."""
        return Account(
            self.name,
            self.type,
            self.url,
            self.reference,
            self.limits,
            connections=self.connections,
            triggers_at_once=KINDS[self.type].declared.triggers_at_once,
            settings=self.keys,
        )

    @property
    def user(self) -> tuple[str, str]:
        """Whom the service counts."""
        return self.world, self.token


class Kind:
    """One type. This one is of services whose builds live by the kit's `life`.

    Attributes:
        limited: how the reasons begin with which it refuses because of a limit.
        echoes: whether a receipt tells which marker it answers; `echoes_messages`: also that it answers none.
        counts_reads: whether its limits count calls that only read.
    """

    type: str
    limited: tuple[str, ...] = ()
    echoes = False
    echoes_messages = False
    counts_reads = False

    @property
    def declared(self) -> Declaration:
        """What the type says about itself."""
        return registry.declaration(self.type)

    def made(self, site: Site, began: float) -> Any:
        """The service, whose clock begins then."""
        return registry.lookalike_of(site.type)(site.settings, began)

    # -- what a seed draws --------------------------------------------------------------------------------------

    def site(self, name: str, dice: Dice, travis: Travis) -> Site:
        """An account and its service, like that Travis as far as it has the same; `odd` ways of it as chance wills."""
        odd = {spec.slug: spec for spec in travis.repos if _is_odd(spec)}
        settings, keys = self.settings(dice, [spec.slug for spec in travis.repos], odd)
        skew = travis.skew if dice.chance(0.5) else dice.choice((0.0, 1.7, -95.0, 4000.0))
        more = {name: getattr(travis, name) for name in ALIKE}
        settings = replace(
            settings, **more, queue=travis.process, skew=skew, seed=travis.seed, token=OWN, login=USER,
            others={OTHER: "other", STRANGER: "stranger"},
        )  # fmt: skip
        settings = self.with_shares(settings, travis)
        site = Site(
            name, self.type, name, self.url(name, settings), OWN, self.declared.limits, self.declared.connections,
            settings, keys, frozenset(odd),
        )  # fmt: skip
        return self.with_limits(site, dice)

    def url(self, name: str, settings: Any) -> str:
        """Of the account."""
        return f"http://{name}.invalid"

    def settings(self, dice: Dice, repos: list[str], odd: Mapping[str, RepoSpec]) -> tuple[Any, dict[str, Json]]:
        """Those of the look-alike, and the account's keys."""
        raise NotImplementedError

    def with_shares(self, settings: Any, travis: Travis) -> Any:
        """How often builds end otherwise than passed."""
        known = settings.shares.__struct_fields__
        usual = {name: getattr(travis.shares, name) for name in ("failed", "canceled", "errored") if name in known}
        odd = {name: 0.03 for name in ("startup_failure", "skipped", "not_run", "not_built") if name in known}
        return replace(settings, shares=replace(settings.shares, **usual, **odd))

    def with_limits(self, site: Site, dice: Dice) -> Site:
        """Now and then narrow ones, of which the account knows or not."""
        return site

    def request(self, site: Site, target: Target, said: str, dice: Dice) -> Target:
        """The target with what it says there: that text, which travels with its trigger."""
        return replace(target, request={**self.says(said), **self.more(site, dice)})

    def says(self, said: str) -> dict[str, Json]:
        """The keys with the text."""
        raise NotImplementedError

    def more(self, site: Site, dice: Dice) -> dict[str, Json]:
        """Other keys."""
        return {}

    def shows(self, site: Site, target: Target) -> bool:
        """Whether requests such as the target's show their marker there."""
        return True

    def hides(self, site: Site, target: Target) -> bool:
        """Whether requests without a marker may be the target's all the same, since it would not be shown."""
        return False

    # -- what it has counted ------------------------------------------------------------------------------------

    def watch(self, like: Any, end: End, again: Again) -> None:
        """Tells when builds end and begin again; those of one request are one."""
        life = self.life(like)
        over, more = life._end, life.again

        def note_end(at: float, build: Any, attempt: int, outcome: str) -> None:
            if build.attempt == attempt and build.stage is not Stage.OVER:
                end(at, self.first(like, build), outcome)
            over(at, build, attempt, outcome)

        def note_again(at: float, build: Any) -> None:
            again(at, build)
            more(at, build)

        life._end, life.again = note_end, note_again

    def life(self, like: Any) -> Any:
        """What lets its builds live."""
        return like.tables.life

    def first(self, like: Any, build: Any) -> Any:
        """The build that was triggered, of which this one is another try."""
        return build

    def lagging(self, like: Any) -> Iterable[Any]:
        """What is in listings from a time on."""
        return like.counters.accepted

    def visible(self, row: Any) -> float:
        """From when on a row is in listings."""
        return float(row.visible_at)

    def id_of(self, row: Any) -> str:
        """The request's, as the engine names it."""
        return str(row.id)

    def builds(self, row: Any) -> Iterator[tuple[str, object]]:
        """Each build of a row, with its id as the engine names it."""
        yield str(row.id), row

    def tries(self, like: Any, build: Any) -> Sequence[str]:
        """The ids of those builds that were another try of it."""
        return ()

    def is_rejected(self, row: Any) -> bool:
        """Whether what was accepted was refused later."""
        return False

    def state_of(self, word: str) -> str:
        """A word of the service for an end, in ours."""
        return self.declared.states[word].value

    def is_limit(self, reason: str) -> bool:
        """Whether that refused a call because of a limit."""
        return reason.startswith(self.limited) if self.limited and reason else False


def _is_odd(spec: RepoSpec) -> bool:
    return False in (spec.active, spec.known, spec.may_trigger) or spec.rejects is not None


def _narrow(site: Site, limits: Mapping[str, Limit], **settings: Any) -> Site:
    """The same with these limits in place of those of the same names, and settings of its look-alike."""
    known = {limit.name: limit for limit in site.limits}
    return replace(site, limits=tuple({**known, **limits}.values()), settings=replace(site.settings, **settings))


def _written(name: str, calls: int, per: float, scope: str = "account") -> dict[str, Limit]:
    return {name: Limit(name, calls, per, scope, written=True)}


class TravisKind(Kind):
    """Travis CI, which the other ones are drawn after."""

    type = "travis"
    limited = ("request_limit_reached", "throttled")
    echoes = True
    echoes_messages = True

    def site(self, name: str, dice: Dice, travis: Travis) -> Site:
        limits, odd = self.declared.limits, frozenset(spec.slug for spec in travis.repos if _is_odd(spec))
        return Site(name, self.type, name, self.url(name, travis), OWN, limits, 16, travis, odd=odd)

    def url(self, name: str, settings: Any) -> str:
        return "https://api.travis-ci.com"

    def says(self, said: str) -> dict[str, Json]:
        return {"message": said}

    def watch(self, like: Any, end: End, again: Again) -> None:
        builds = like.builds
        begin, over = builds._begin_again, builds._end

        def note_restart(at: float, build: Any, jobs: Any) -> None:
            again(at, build)
            begin(at, build, jobs)

        def note_end(at: float, build: Any, state: str) -> None:
            end(at, build, state)
            over(at, build, state)

        builds._begin_again, builds._end = note_restart, note_end

    def builds(self, row: Any) -> Iterator[tuple[str, object]]:
        for build in row.builds:
            yield str(build.id), build

    def is_rejected(self, row: Any) -> bool:
        return bool(row.result == "rejected")


class GitHubKind(Kind):
    """GitHub Actions: workflows and events, with and without a marker that shows, servers that tell no ids."""

    type = "github"
    limited = ("API rate limit exceeded", "You have exceeded a secondary")

    def settings(self, dice: Dice, repos: list[str], odd: Mapping[str, RepoSpec]) -> tuple[Any, dict[str, Json]]:
        files = ("ci.yml", "more.yml") if dice.chance(0.1) else ("ci.yml",)
        specs = [
            github.RepoSpec(
                slug,
                workflows=files,
                inputs=("said",),
                marker=not dice.chance(0.1),
                archived=slug in odd and odd[slug].active is False,
                may_trigger=not (slug in odd and odd[slug].may_trigger is False),
                disabled=slug in odd and odd[slug].rejects is not None,
            )
            for slug in _known(repos, odd)
        ]
        is_old = dice.chance(0.15)
        settings = github.Settings(repos=tuple(specs), graphql=not dice.chance(0.1))
        return (replace(settings, version="3.20.1", prefix=github.ENTERPRISE) if is_old else settings), {}

    def url(self, name: str, settings: Any) -> str:
        return super().url(name, settings) + str(settings.prefix)

    def with_limits(self, site: Site, dice: Dice) -> Site:
        if dice.chance(0.15):
            return _narrow(site, _written("triggers", dice.choice((1, 2)), 15.0))
        if dice.chance(0.1):
            narrow = _narrow(site, {}, writes=dice.choice((2, 3)), hour=60.0, minute=60.0)
            return replace(narrow, is_told=False)
        return site

    def request(self, site: Site, target: Target, said: str, dice: Dice) -> Target:
        if dice.chance(0.12):
            return replace(target, branch=None, request={"event": "build", "payload": {"said": said}})
        return super().request(site, target, said, dice)

    def says(self, said: str) -> dict[str, Json]:
        return {"workflow": "ci.yml", "inputs": {"said": said}}

    def more(self, site: Site, dice: Dice) -> dict[str, Json]:
        return {"marker_input": "none"} if dice.chance(0.05) else {}

    def shows(self, site: Site, target: Target) -> bool:
        spec = _spec(site, target)
        return spec is not None and spec.marker and target.request.get("marker_input") != "none"


class GitLabKind(Kind):
    """GitLab: markers in variables, in names, in inputs; variables that may not be read."""

    type = "gitlab"
    limited = ("throttled", "too often", "{'base': ['Too many pipelines")

    def settings(self, dice: Dice, repos: list[str], odd: Mapping[str, RepoSpec]) -> tuple[Any, dict[str, Json]]:
        specs = [
            gitlab.RepoSpec(
                slug,
                names=dice.chance(0.5),
                hidden=dice.chance(0.1),
                inputs=("said", "mark"),
                archived=slug in odd and odd[slug].active is False,
                may_trigger=not (slug in odd and odd[slug].may_trigger is False),
                filtered=slug in odd and odd[slug].rejects is not None,
            )
            for slug in _known(repos, odd)
        ]
        return gitlab.Settings(repos=tuple(specs), graphql=not dice.chance(0.1)), {}

    def with_limits(self, site: Site, dice: Dice) -> Site:
        if dice.chance(0.15):
            return _narrow(site, _written("triggers", dice.choice((1, 2)), 15.0))
        if dice.chance(0.2):
            creates = dice.choice((1, 2))
            if dice.chance(0.5):
                return _narrow(site, _written("triggers_per_repo", creates, 60.0, "repo"), creates=creates)
            return replace(_narrow(site, {}, creates=creates), is_told=False)
        return site

    def says(self, said: str) -> dict[str, Json]:
        return {"variables": {"SAID": said}}

    def more(self, site: Site, dice: Dice) -> dict[str, Json]:
        return {"marker_input": "mark"} if dice.chance(0.1) else {}

    def hides(self, site: Site, target: Target) -> bool:
        spec = _spec(site, target)
        return spec is not None and bool(spec.hidden)

    def shows(self, site: Site, target: Target) -> bool:
        spec = _spec(site, target)
        return spec is not None and (spec.names or not (spec.hidden or "marker_input" in target.request))


class BuildbotKind(Kind):
    """Buildbot: logins, merged requests, reasons that are not shown; what is built again is another request."""

    type = "buildbot"
    echoes = True

    def settings(self, dice: Dice, repos: list[str], odd: Mapping[str, RepoSpec]) -> tuple[Any, dict[str, Json]]:
        specs = [buildbot.RepoSpec(slug) for slug in repos if slug not in odd]
        closed = dice.chance(0.2)
        settings = buildbot.Settings(
            repos=tuple(specs),
            parameters=("orchestrator_marker", "said"),
            collapse=dice.chance(0.5),
            reason=not dice.chance(0.1),
            closed=closed,
        )
        return settings, {"login": {"user": USER, "password": "env:PASSWORD"}} if closed else {}

    def says(self, said: str) -> dict[str, Json]:
        return {"scheduler": "force", "properties": {"said": said}}

    def shows(self, site: Site, target: Target) -> bool:
        return bool(site.settings.reason)

    def watch(self, like: Any, end: End, again: Again) -> None:
        super().watch(like, end, again)
        rebuild = like.tables.rebuild

        def note_rebuild(at: float, old: Any) -> Any:
            again(at, self.first(like, old))
            return rebuild(at, old)

        like.tables.rebuild = note_rebuild

    def first(self, like: Any, build: Any) -> Any:
        return build if build.buildset.rebuilt is None else like.tables.of_build(build.buildset.rebuilt)

    def lagging(self, like: Any) -> Iterable[Any]:
        found: list[Any] = like.tables.buildsets
        return found

    def visible(self, row: Any) -> float:
        return float(row.buildset.visible_at)

    def builds(self, row: Any) -> Iterator[tuple[str, object]]:
        yield str(row.build), row

    def tries(self, like: Any, build: Any) -> Sequence[str]:
        return [str(row.build) for row in like.tables.requests if row.buildset.rebuilt == build.build]


class JenkinsKind(Kind):
    """Jenkins: a queue whose items become builds, crumbs, jobs without the marker's parameter."""

    type = "jenkins"
    limited = ("too many",)
    counts_reads = True

    def settings(self, dice: Dice, repos: list[str], odd: Mapping[str, RepoSpec]) -> tuple[Any, dict[str, Json]]:
        specs = [
            jenkins.RepoSpec(
                slug,
                parameters=("BRANCH", "SAID") if dice.chance(0.1) else (jenkins.MARKER, "BRANCH", "SAID"),
                active=not (slug in odd and odd[slug].active is False),
                may_trigger=not (slug in odd and odd[slug].may_trigger is False),
                vetoed=slug in odd and odd[slug].rejects is not None,
            )
            for slug in _known(repos, odd)
        ]
        left = dice.choice((300.0, 300.0, 60.0))
        return jenkins.Settings(repos=tuple(specs), crumbs=dice.chance(0.2), left=left), {"user": USER}

    def with_limits(self, site: Site, dice: Dice) -> Site:
        if dice.chance(0.15):
            return _narrow(site, _written("triggers", dice.choice((1, 2)), 15.0))
        if dice.chance(0.1):
            return replace(_narrow(site, {}, requests=30, minute=30.0), is_told=False)
        return site

    def says(self, said: str) -> dict[str, Json]:
        return {"parameters": {"SAID": said}}

    def shows(self, site: Site, target: Target) -> bool:
        spec = _spec(site, target)
        return spec is not None and jenkins.MARKER in spec.parameters

    def builds(self, row: Any) -> Iterator[tuple[str, object]]:
        yield "" if row.number is None else str(row.number), row


class BuildkiteKind(Kind):
    """Buildkite: fifty calls a minute for everything, waiting builds that a newer one replaces."""

    type = "buildkite"
    limited = ("rest",)
    echoes = True
    counts_reads = True

    def settings(self, dice: Dice, repos: list[str], odd: Mapping[str, RepoSpec]) -> tuple[Any, dict[str, Json]]:
        skips = dice.chance(0.15)
        specs = [
            buildkite.RepoSpec(
                slug,
                skips=skips,
                archived=slug in odd and odd[slug].active is False,
                may_trigger=not (slug in odd and odd[slug].may_trigger is False),
                only=("other",) if slug in odd and odd[slug].rejects is not None else (),
            )
            for slug in _known(repos, odd)
        ]
        return buildkite.Settings(repos=tuple(specs)), {}

    def with_limits(self, site: Site, dice: Dice) -> Site:
        if dice.chance(0.2):
            narrow = _narrow(site, {}, user_calls=dice.choice((15, 25)))
            if dice.chance(0.5):
                return _narrow(narrow, _written("calls", narrow.settings.user_calls, 60.0))
            return replace(narrow, is_told=False)
        return site

    def says(self, said: str) -> dict[str, Json]:
        return {"message": said}


class GiteaKind(Kind):
    """Gitea: no marker shows; older ones tell no id."""

    type = "gitea"
    versions: tuple[str, ...] = ("1.28.0", "1.28.0", "1.27.0", "1.26.0")
    kind: type[gitea.Settings] = gitea.Settings

    def settings(self, dice: Dice, repos: list[str], odd: Mapping[str, RepoSpec]) -> tuple[Any, dict[str, Json]]:
        specs = [
            gitea.RepoSpec(
                slug,
                inputs=("said",),
                archived=slug in odd and odd[slug].active is False,
                may_trigger=not (slug in odd and odd[slug].may_trigger is False),
                disabled=slug in odd and odd[slug].rejects is not None,
            )
            for slug in _known(repos, odd)
        ]
        return self.kind(repos=tuple(specs), version=dice.choice(self.versions), cancels=dice.chance(0.3)), {}

    def with_limits(self, site: Site, dice: Dice) -> Site:
        if dice.chance(0.15):
            return _narrow(site, _written("triggers", dice.choice((1, 2)), 15.0))
        return site

    def says(self, said: str) -> dict[str, Json]:
        return {"workflow": "ci.yml", "inputs": {"said": said}}


class ForgejoKind(GiteaKind):
    """Forgejo, which starts nothing again."""

    type = "forgejo"
    versions = ("16.0.0", "16.0.0", "15.0.0")
    kind = gitea.ForgejoSettings


class WebhookKind(Kind):
    """A service that its account describes: with and without `find`, followed and not."""

    type = "webhook"
    limited = ("too many triggers",)

    def settings(self, dice: Dice, repos: list[str], odd: Mapping[str, RepoSpec]) -> tuple[Any, dict[str, Json]]:
        left_out = {"find"} if dice.chance(0.3) else set()
        left_out |= {"cancel"} if dice.chance(0.2) else set()
        said: dict[str, Any] = {name: it for name, it in USUAL.items() if name not in left_out}
        if dice.chance(0.1):
            said = {name: it for name, it in said.items() if name not in ("status", "cancel")} | {"follow": "none"}
        service = said
        if dice.chance(0.15):  # it keeps no marker, so that its `find` shows nothing
            body = {name: it for name, it in said["trigger"]["body"].items() if name != "marker"}
            service = {**said, "trigger": {**said["trigger"], "body": body}}
        return Webhook(repos=tuple(slug for slug in repos if slug not in odd), service=service), said

    def with_shares(self, settings: Any, travis: Travis) -> Any:
        return replace(settings, failed=travis.shares.failed)

    def with_limits(self, site: Site, dice: Dice) -> Site:
        site = replace(site, reference="env:TOKEN")
        if dice.chance(0.15):
            return _narrow(site, _written("triggers", dice.choice((1, 2)), 15.0))
        if dice.chance(0.15):
            triggers = dice.choice((1, 2))
            if dice.chance(0.5):
                return _narrow(site, _written("triggers", triggers, 20.0), triggers=triggers, minute=20.0)
            return replace(_narrow(site, {}, triggers=triggers, minute=20.0), is_told=False)
        return site

    def says(self, said: str) -> dict[str, Json]:
        return {"env": {"SAID": said}}

    def shows(self, site: Site, target: Target) -> bool:
        return "find" in site.keys and "marker" in site.settings.service["trigger"]["body"]

    def life(self, like: Any) -> Any:
        return like.life

    def state_of(self, word: str) -> str:
        return word


def _spec(site: Site, target: Target) -> Any:
    """The target's repository as the service has it; None where it has none."""
    return next((spec for spec in site.settings.repos if spec.slug == target.repo), None)


def _known(repos: list[str], odd: Mapping[str, RepoSpec]) -> list[str]:
    """Those that the service has."""
    return [slug for slug in repos if slug not in odd or odd[slug].known is not False]


KINDS: Mapping[str, Kind] = {
    kind.type: kind
    for kind in (
        TravisKind(),
        GitHubKind(),
        GitLabKind(),
        GiteaKind(),
        ForgejoKind(),
        BuildbotKind(),
        JenkinsKind(),
        BuildkiteKind(),
        WebhookKind(),
    )
}


@cache
def factory_of(type_: str) -> Any:
    """What makes the provider of a type."""
    return registry.load(registry.declaration(type_).factory)
