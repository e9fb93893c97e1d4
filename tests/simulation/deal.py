"""Deals out types: a schedule that was drawn for Travis is played on one to three accounts of any type.

The draws come from a stream of their own. What befalls the runs stays as it was drawn; the targets are spread over the
accounts, and say there what that type has them say.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.frozen import replace
from orchestrator.core.model import Target
from orchestrator.core.waves import NO_RERUNS

from .dice import Dice
from .kinds import KINDS, OTHER, OWN, Site
from .schedule import Job, Schedule

ALL = tuple(KINDS)
COUNTS = (1, 1, 2, 2, 3)


def on_travis(schedule: Schedule) -> Schedule:
    """The schedule as it was drawn: its accounts are users of one Travis."""
    first, tokens = schedule.accounts[0], {"travis": OWN, "other": OTHER}
    drawn = KINDS["travis"].site(first, Dice(0), schedule.settings)
    sites = [
        replace(drawn, name=name, token=tokens[name], limits=schedule.limits, connections=schedule.connections)
        for name in schedule.accounts
    ]
    strangers = tuple((at, first, repo) for at, _, repo in schedule.strangers)
    return replace(schedule, sites=tuple(sites), strangers=strangers)


def deal(schedule: Schedule, types: Sequence[str] = ALL) -> Schedule:
    """The schedule on accounts of these types, one to three of them as its seed says."""
    dice = Dice(f"types {schedule.seed}")
    if schedule.twist.mixed is not None:
        types = [type_ for type_ in types if KINDS[type_].echoes] or types
    sites: list[Site] = []
    for type_ in [dice.choice(types) for _ in range(dice.choice(COUNTS))]:
        sites.append(_site(dice, schedule, type_, sites))
    targets = _Targets(dice, sites)
    twist = schedule.twist
    if twist.overlap is not None:
        twist = replace(twist, overlap=replace(twist.overlap, job=targets.moved(twist.overlap.job)))
    travis = next((site.name for site in sites if site.type == "travis"), None)
    return replace(
        schedule,
        sites=tuple(sites),
        accounts=tuple(site.name for site in sites),
        jobs=tuple(targets.moved(job) for job in schedule.jobs),
        bans=() if travis is None else tuple((at, travis, seconds) for at, _, seconds in schedule.bans),
        strangers=tuple((at, dice.choice(sites).name, repo) for at, _, repo in schedule.strangers),
        twist=twist,
    )


def _site(dice: Dice, schedule: Schedule, type_: str, others: Sequence[Site]) -> Site:
    same = [site for site in others if site.type == type_]
    name = f"{type_}{len(same) + 1}" if same else type_
    site = KINDS[type_].site(name, dice, schedule.settings)
    if type_ == "travis":
        site = replace(site, limits=schedule.limits, connections=schedule.connections)
    if schedule.twist.outage is not None:
        site = replace(site, connections=min(site.connections, schedule.connections))
    if same and dice.chance(0.6):  # another user of the same service, or the same one under another name
        token = dice.choice((OWN, OTHER))
        if type_ in ("jenkins", "buildbot"):  # there a user has one token
            token = OWN
        return replace(same[0], name=name, token=token)
    return site


class _Targets:
    """Where each target goes; one that stands in two runs goes to the same account in both."""

    def __init__(self, dice: Dice, sites: Sequence[Site]) -> None:
        self._dice = dice
        self._sites = {site.name: site for site in sites}
        self._home: dict[str, str] = {}

    def moved(self, job: Job) -> Job:
        """The job with its targets where they are now."""
        ids: dict[str, str] = {}
        targets: list[Target] = []
        for target in job.targets:
            site = self._sites[self._home.setdefault(target.id, self._dice.choice([*self._sites]))]
            moved = self._on(site, target)
            ids[target.id] = moved.id
            targets.append(moved)
        return replace(job, targets=tuple(replace(one, needs=tuple(ids[id_] for id_ in one.needs)) for one in targets))

    def _on(self, site: Site, target: Target) -> Target:
        kind, said = KINDS[site.type], str(target.request["message"])
        moved = kind.request(site, replace(target, account=site.name), said, Dice(f"{site.name} {target.id}"))
        branch = "" if moved.branch is None else f"@{moved.branch}"
        reruns = moved.reruns if kind.declared.restarts else NO_RERUNS
        return replace(moved, id=f"{site.name}:{moved.repo}{branch}#{moved.name}", reruns=reruns)
