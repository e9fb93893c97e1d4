"""How the targets of a run fared in earlier runs of this state."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.core.events import RunMade
from orchestrator.core.evidence import Past
from orchestrator.core.history import History
from orchestrator.core.model import Outcome, Target
from orchestrator.core.pasts import past_of, place_of, services_of
from orchestrator.core.promotion import Usually
from orchestrator.journal.port import Journal


async def usually(journal: Journal, run: str, history: History) -> Usually:
    """How the targets of a run fared as a rule, without what this run itself has shown."""
    if history.made is None:
        return Usually()
    return await usual_of(journal, history.made, history.targets, history.options.failures, run)


async def usual_of(
    journal: Journal, made: RunMade, targets: Sequence[Target], failures: Collection[Outcome], without: str = ""
) -> Usually:
    """The same for a run that is made, or is to be made.

    Args:
        failures: the outcomes that are bad.
        without: the id of a run that is left out.
    """
    services = services_of(made)
    known: dict[str, list[Past]] = {}
    pasts: dict[str, Past] = {}
    mine = {place_of(services[target.account], target.id): target for target in targets if target.account in services}
    retries = {services[one.account] for one in mine.values() if one.reruns.times}
    for service in dict.fromkeys(services.values()):
        known[service] = []
        for place, letters in (await journal.pasts(service, without)).items():
            target = mine.get(place)
            has_reruns = service in retries if target is None else target.reruns.times > 0
            past = past_of(letters, failures, has_reruns=has_reruns)
            known[service].append(past)
            if target is not None:
                pasts[target.id] = past
    return Usually(targets, pasts, services, known)
