"""What differs between an open run and what its manifest, or the command line, says by now.

A run goes on with the plan that was journaled when it was made; a person who edited the manifest in between must be
told what will not happen. Nobody is asked: where targets depend on a provider's answers, only the edit itself is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from orchestrator import manifest as manifests
from orchestrator.app.load_plan import STDIN, Source, read_manifest, selected
from orchestrator.app.machine import Machine
from orchestrator.cli.flags import Flags
from orchestrator.core.errors import NotStarted, UsageError
from orchestrator.core.events import RunMade, from_json, to_json
from orchestrator.core.history import History
from orchestrator.core.model import Account, Plan, Target
from orchestrator.manifest import Manifest
from orchestrator.report.words import counted, plain

NAMED = 5


def differences(history: History, source: Source, flags: Flags, machine: Machine, run: str) -> list[str]:
    """Sentences about what the manifest says now and the run does not do; empty when they agree.

    Args:
        source: what this command line names; stdin is left unread.
    """
    made = history.made
    if made is None or source.is_ad_hoc or source.manifest == STDIN:
        return []
    try:
        manifest = read_manifest(source, flags, machine, run)
        plan = _planned(manifest, flags, machine)
    except (UsageError, NotStarted) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [f"the manifest cannot be compared with the run's plan: {plain(first)}"]
    if plan is None:
        return [f"{manifest.source} was edited since the run was made"] * (manifest.digest != made.digest)
    return [
        *_params(made, plan.params),
        *_brakes(made, plan.accounts),
        *_targets(history.targets, plan.targets, manifest, made),
    ]


def _planned(manifest: Manifest, flags: Flags, machine: Machine) -> Plan | None:
    """The plan as it would be made now; None where a provider would have to be asked."""
    if manifests.questions(manifest):
        return None
    today = datetime.fromtimestamp(machine.now(), UTC).date()
    return selected(manifests.expand(manifest, today=today), manifest, flags)


def _params(made: RunMade, now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(made.params.keys() | now.keys()):
        was, is_ = made.params.get(name), now.get(name)
        if was != is_:
            yield f"parameter {name} is {_said(was)} in this run, not {_said(is_)}"


def _brakes(made: RunMade, now: Mapping[str, Account]) -> Iterator[str]:
    for name, account in now.items():
        if (kept := made.accounts.get(name)) is None:
            continue
        before, keeps = from_json(Account, kept), f"account {name}: this run keeps the"
        if _builds(before) != _builds(account):
            yield f"{keeps} `in_flight` and `queue` that it was made with; -j lowers them"
        if before.brake.quiet != account.brake.quiet:
            yield f"{keeps} quiet hours that it was made with; --ignore-quiet-hours leaves them"


def _builds(account: Account) -> tuple[object, ...]:
    return account.in_flight, account.brake.caps, account.brake.queue


def _said(value: object) -> str:
    return "not set" if value is None else repr(value)


def _targets(ours: Sequence[Target], now: Sequence[Target], manifest: Manifest, made: RunMade) -> Iterator[str]:
    known, wanted = {target.id: target for target in ours}, {target.id: target for target in now}
    file = manifest.source
    if new := [id_ for id_ in wanted if id_ not in known]:
        yield f"{file}: {counted(len(new), 'target')} of it {_is(new)} not in this run: {_named(new)}"
    if gone := [id_ for id_ in known if id_ not in wanted]:
        yield f"{file}: {counted(len(gone), 'target')} of this run {_is(gone)} no longer in it: {_named(gone)}"
    if manifest.digest == made.digest and dict(made.params) == dict(manifest.params):
        return
    both = known.keys() & wanted.keys()
    other = [id_ for id_ in known if id_ in both and to_json(known[id_].request) != to_json(wanted[id_].request)]
    if other:
        yield f"{file}: {counted(len(other), 'target')} would be asked for otherwise by now: {_named(other)}"


def _is(ids: Sequence[str]) -> str:
    return "is" if len(ids) == 1 else "are"


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
