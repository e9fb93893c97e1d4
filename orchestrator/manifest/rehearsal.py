"""Keys that say what a run reads beside its builds, and what a rehearsal of it is to see: `causes`, `rehearsal`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from orchestrator.core.model import LONGEST_LOG, Causes, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.core.times import parse_duration
from orchestrator.manifest.diagnostics import Place, Value
from orchestrator.manifest.files import Files, beside

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20}


def causes_of(raw: Mapping[str, Value], files: Files) -> Causes | None:
    """Which logs are read, as it is written; None: none."""
    written = raw.get("causes") or None
    if written is None:
        return None
    found = Causes(logs=written.get("logs", Causes().logs), bytes=_size(written.get("bytes", "64KiB")))
    if found.bytes > LONGEST_LOG:
        place = Place(raw, "causes", ("causes",)).at("bytes")
        files.diagnostics.report("more than is ever read of a log", "write 4MiB or less", place)
    return found if found.logs else None


def causes_for(raw: Mapping[str, Value], written: Causes | None, targets: Iterable[Target]) -> Causes | None:
    """The same where nothing is written: some are read where a rollout or reruns ask what failed, and how."""
    if "causes" in raw:
        return written
    return Causes() if "rollout" in raw or any(target.reruns.times for target in targets) else None


def _size(text: str) -> int:
    number, unit = re.findall(r"\d+|\D+", text)
    return int(number) * UNITS[unit]


def rehearsal_of(raw: Mapping[str, Value], files: Files) -> Rehearsal:
    """What the look-alikes are told; the logs that it names are read from beside the manifest."""
    if (written := raw.get("rehearsal")) is None:
        return NOTHING_SAID
    place = Place(raw, "rehearsal", ("rehearsal",))
    slow = {glob: _seconds(place.at("slow").at(glob), files) for glob in written.get("slow", {})}
    log = {glob: _log(place.at("log").at(glob), files) for glob in written.get("log", {})}
    return Rehearsal(_texts(written.get("fails", ())), _texts(written.get("flakes", ())), slow, log)


def _texts(written: Value) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else tuple(written)


def _seconds(place: Place, files: Files) -> float:
    try:
        return parse_duration(place.value)
    except ValueError as error:
        files.diagnostics.report(str(error), "", place)
        return 0.0


def _log(place: Place, files: Files) -> str:
    path = beside(files.positions.source_of(place.container, place.key), place.value)
    text = files.loaded(path, place) or b""
    if len(text) > LONGEST_LOG:
        files.diagnostics.report(f"{path} is longer than 4 MiB", "keep its end", place)
    return text[-LONGEST_LOG:].decode("utf-8", "replace")
