"""What a seed draws. A schedule is plain data, drawn before anything runs, so that `-v` can print it.

Everything that a provider may do late (a call that is applied late, a row that lags) stays below `SETTLE`: that is what
`timeouts.settle` promises. A call is over after `PATIENCE`, as it is after 30 s outside.
"""

from __future__ import annotations

from orchestrator.core.frozen import Struct, field, replace
from orchestrator.core.model import Limit, Target, Timeouts
from orchestrator.core.waves import Rollout, Wave
from orchestrator.lookalike.kit.faults import FaultRule
from orchestrator.lookalike.kit.settings import Rule
from orchestrator.lookalike.travis.settings import RepoSpec, Settings, Shares
from orchestrator.providers.travis.declaration import DECLARATION

from .dice import Dice
from .kinds import Site
from .twist import PLAIN, Twist

SETTLE, PATIENCE = 20.0, 8.0
LATEST, LONGEST_LAG = 13.0, 6.0  # together below SETTLE
TIMEOUTS = Timeouts(settle=SETTLE, accept=90.0, queue=150.0, build=150.0, reach=60.0)
POST_FAULTS = (
    "never_left",
    "lost_before",
    "lost_after",
    "timeout_before",
    "timeout_after",
    "applied_late",
    "error_before",
    "error_after",
    "error_stuck",
    "html",
    "html_after",
    "portal",
    "torn",
    "garbled",
    "slow",
)
GET_FAULTS = ("never_left", "lost_after", "timeout_after", "error_before", "html", "portal", "torn", "garbled", "slow")


class Fate(Struct, frozen=True):
    """What befalls one process. Times are seconds after its start; None: never.

    Args:
        dies_at_step: killed before its n-th step; `dies_at` at an instant; `dies_at_append` at its n-th append.
        before: whether that append is then not written.
        proven: whether others can prove its death.
        stops: pairs of when it is stopped and for how long.
        interrupts: when it is told to end.
        timeout, detach: as on the command line.
        pause: seconds between its end and the start of the next one.
    """

    dies_at_step: int | None = None
    dies_at: float | None = None
    dies_at_append: int | None = None
    before: bool = False
    proven: bool = True
    stops: tuple[tuple[float, float], ...] = ()
    interrupts: tuple[float, ...] = ()
    timeout: float | None = None
    detach: bool = False
    pause: float = 1.0


class Job(Struct, frozen=True):
    """A run, and who drives it.

    Args:
        starts: when the first process begins.
        fates: of its processes, one after the other; after them all goes well.
        rival: when another process begins to want the same run, with a fate of its own.
        cancel_at: when a person cancels it, and whether its builds are kept.
        rollout: how it spreads, cut into `waves`; `pauses` are pairs of when a person holds it and for how long, and
            `denies` says that the first wave that waits for a person is not let open.
    """

    id: str
    targets: tuple[Target, ...]
    starts: float = 0.0
    fates: tuple[Fate, ...] = ()
    rival: tuple[float, Fate] | None = None
    max_fail: str | None = None
    in_flight: int | None = None
    cancel_at: float | None = None
    keep_builds: bool = False
    rollout: Rollout | None = None
    waves: tuple[Wave, ...] = ()
    pauses: tuple[tuple[float, float], ...] = ()
    denies: bool = False


class Schedule(Struct, frozen=True):
    """Everything that one seed decides.

    Args:
        calm_at: from when on the service does nothing wrong any more.
        proven: whether the accounts' markers were proven by earlier runs.
        limits: of each account, and its `connections`; `hourly` whether the server's rule for a repository is written
            there.
        steps: pairs of when the machine's wall clock steps and by how much.
        jumps: the same of the service's clock, forwards only; `twist` has both ways.
        bans: pairs of when an account is banned and for how long.
        strangers: when somebody else triggers, on the service of which account, which repository.
        twist: what befalls it beyond.
        sites: the accounts, and the services that they are on (`deal`).
    """

    seed: int
    settings: Settings
    jobs: tuple[Job, ...]
    accounts: tuple[str, ...]
    limits: tuple[Limit, ...]
    calm_at: float
    proven: bool
    steps: tuple[tuple[float, float], ...] = ()
    jumps: tuple[tuple[float, float], ...] = ()
    bans: tuple[tuple[float, str, float], ...] = ()
    strangers: tuple[tuple[float, str, str], ...] = ()
    faults: tuple[FaultRule, ...] = field(default=())
    connections: int = 16
    twist: Twist = PLAIN
    sites: tuple[Site, ...] = ()


def plain_schedule_of(seed: int) -> Schedule:
    """The schedule of a seed, without a plot."""
    dice = Dice(seed)
    accounts = ("travis",) if dice.chance(0.75) else ("travis", "other")
    repos = _repos(dice)
    limits, hourly, hour = _limits(dice)
    calm_at = dice.choice((20.0, 60.0, 120.0))
    return Schedule(
        seed=seed,
        settings=_settings(dice, seed, repos, hourly, hour),
        jobs=_jobs(dice, accounts, tuple(repo.slug for repo in repos)),
        accounts=accounts,
        limits=limits,
        calm_at=calm_at,
        proven=dice.chance(0.75),
        steps=_steps(dice),
        jumps=((dice.late(1.0, 60.0), dice.choice((3.0, 40.0, 600.0))),) if dice.chance(0.05) else (),
        bans=((dice.late(0.5, 30.0), dice.choice(accounts), 90.0),) if dice.chance(0.03) else (),
        strangers=tuple((dice.late(0.0, 60.0), "", dice.choice(repos).slug) for _ in range(_few(dice, 0.15))),
        faults=_faults(dice, calm_at),
    )


def _few(dice: Dice, share: float) -> int:
    return dice.choice((1, 1, 2, 3)) if dice.chance(share) else 0


def _repos(dice: Dice) -> list[RepoSpec]:
    owners = ("acme",) if dice.chance(0.7) else ("acme", "umbrella")
    repos = [RepoSpec(f"{dice.choice(owners)}/r{n}") for n in range(dice.choice((1, 2, 2, 3)))]
    if dice.chance(0.08):
        flag = dice.choice(("active", "known", "may_trigger"))
        repos[-1] = replace(repos[-1], **{flag: False})
    elif dice.chance(0.05):
        texts = ("Branch excluded per configuration: main", "Could not authorize build request for acme")
        repos[-1] = replace(repos[-1], rejects=dice.choice(texts))
    return repos


def _limits(dice: Dice) -> tuple[tuple[Limit, ...], int, float]:
    """The accounts' limits, and the server's rule for a repository."""
    known = {limit.name: limit for limit in DECLARATION.limits}
    hourly, hour = 10, 3600.0
    if dice.chance(0.15):
        known["triggers"] = Limit("triggers", dice.choice((1, 2)), 15.0, written=True)
    if dice.chance(0.1):
        hourly, hour = dice.choice((1, 2)), 60.0
        known["triggers_per_repo"] = Limit("triggers_per_repo", hourly, hour, "repo", written=True)
    return tuple(known.values()), hourly, hour


def _settings(dice: Dice, seed: int, repos: list[RepoSpec], hourly: int, hour: float) -> Settings:
    odd = dice.chance(0.25)
    shares = Shares(
        rejected=0.1 * odd,
        rejected_blind=0.05 * odd,
        never_processed=0.06 * odd,
        no_result=0.1 * odd,
        config_error=0.05 * odd,
        failed=0.15,
        errored=0.05,
        canceled=0.05,
    )
    return Settings(
        repos=tuple(repos),
        others={"other-token": "other", "stranger-token": "stranger"},
        shares=shares,
        process=dice.choice(((0.1, 1.0), (1.0, 3.0), (2.0, 20.0))),
        build=dice.choice(((1.0, 5.0), (3.0, 20.0))),
        concurrency=dice.choice((1, 20)),
        hourly=hourly,
        hour=hour,
        burst=Rule(50, 30.0, 120.0),
        latency=dice.choice(((0.01, 0.1), (0.05, 0.6), (0.5, 3.0))),
        lag=dice.choice(((0.0, 0.0), (0.0, 0.0), (0.0, LONGEST_LAG))),
        reorder=dice.chance(0.3),
        skew=dice.choice((0.0, 0.0, 1.7, -1.7, 95.0, -95.0, 4000.0, -4000.0)),
        auto_cancel=dice.chance(0.1),
        patience=PATIENCE,
        seed=seed,
    )


def _faults(dice: Dice, calm_at: float) -> tuple[FaultRule, ...]:
    until = (0.0, calm_at)
    rules = []
    if dice.chance(0.1):
        began = dice.late(0.0, 30.0)
        kind = dice.choice(("never_left", "lost_before", "timeout_before", "error_before"))
        rules.append(FaultRule(kind, methods=(), between=(began, began + dice.late(2.0, 50.0))))
    share = dice.choice((0.0, 0.2, 0.4, 0.7))
    kinds = dice.sample(POST_FAULTS, dice.randint(1, 4))
    if dice.chance(0.2):
        kinds.append("applied_late")
    rules += [FaultRule(kind, share / len(kinds), between=until, seconds=_seconds(dice, kind)) for kind in kinds]
    if dice.chance(0.5):
        kind = dice.choice(GET_FAULTS)
        rules.append(FaultRule(kind, dice.choice((0.1, 0.4)), methods=("GET",), between=until, seconds=4.0))
    return tuple(rules)


def _seconds(dice: Dice, kind: str) -> float | None:
    return dice.uniform(2.0, LATEST) if kind == "applied_late" else dice.choice((2.0, 20.0))


def _steps(dice: Dice) -> tuple[tuple[float, float], ...]:
    if not dice.chance(0.1):
        return ()
    sizes = (-5000.0, -300.0, -40.0, -3.0, 3.0, 40.0, 300.0, 5000.0)
    return tuple((dice.late(0.5, 60.0), dice.choice(sizes)) for _ in range(dice.choice((1, 1, 2))))


def _jobs(dice: Dice, accounts: tuple[str, ...], repos: tuple[str, ...]) -> tuple[Job, ...]:
    jobs = [_job(dice, "r1", accounts, repos)]
    if dice.chance(0.12):
        jobs.append(replace(_job(dice, "r2", accounts, repos), starts=dice.late(0.0, 30.0)))
    return tuple(jobs)


def _job(dice: Dice, run: str, accounts: tuple[str, ...], repos: tuple[str, ...]) -> Job:
    rival = (dice.late(0.0, 50.0), fate_of(dice)) if dice.chance(0.2) else None
    canceled = dice.chance(0.05)
    return Job(
        run,
        _targets(dice, run, accounts, repos),
        fates=tuple(fate_of(dice) for _ in range(dice.choice((0, 1, 1, 2, 3)))),
        rival=rival,
        max_fail="1" if dice.chance(0.04) else None,
        in_flight=1 if dice.chance(0.08) else None,
        cancel_at=dice.late(0.0, 40.0) if canceled else None,
        keep_builds=dice.chance(0.3),
    )


def _targets(dice: Dice, run: str, accounts: tuple[str, ...], repos: tuple[str, ...]) -> tuple[Target, ...]:
    made: list[Target] = []
    for number in range(dice.choice((1, 2, 2, 3, 4))):
        account, repo = dice.choice(accounts), dice.choice(repos)
        marked = not dice.chance(0.06)
        made.append(
            Target(
                f"{account}:{repo}@main#{run}-t{number}",
                account,
                repo,
                "main",
                name=f"{run}-t{number}",
                needs=(made[0].id,) if made and dice.chance(0.12) else (),
                skip="frozen" if dice.chance(0.02) else None,
                marked=marked,
                timeouts=TIMEOUTS,
                request={"message": f"{run}-t{number} says so"},
            )
        )
    return tuple(made)


def fate_of(dice: Dice) -> Fate:
    """What befalls one process."""
    pause = dice.choice((0.0, 0.5, 5.0, 25.0))
    match dice.choice(("step", "step", "append", "append", "instant", "stop", "stop", "interrupt", "leave")):
        case "step":
            return Fate(dies_at_step=int(dice.late(4, 220)), proven=dice.chance(0.7), pause=pause)
        case "append":
            number, before = int(dice.late(0, 16)), dice.chance(0.5)
            return Fate(dies_at_append=number, before=before, proven=dice.chance(0.7), pause=pause)
        case "instant":
            return Fate(dies_at=dice.late(0.0, 40.0), proven=dice.chance(0.7), pause=pause)
        case "stop":
            stops = [(dice.late(0.0, 40.0), dice.choice((1.0, 12.0, 28.0, 45.0, 90.0)))]
            dies = dice.late(20.0, 120.0) if dice.chance(0.3) else None
            return Fate(stops=tuple(stops), dies_at=dies, proven=dice.chance(0.7), pause=pause)
        case "interrupt":
            first = dice.late(0.0, 40.0)
            second = (first + dice.late(0.0, 10.0),) if dice.chance(0.5) else ()
            return Fate(interrupts=(first, *second), pause=pause)
        case _:
            if dice.chance(0.5):
                return Fate(detach=True, pause=pause)
            return Fate(timeout=dice.late(0.5, 60.0), pause=pause)
