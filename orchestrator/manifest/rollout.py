"""What a manifest says of a rollout, as values; what makes no sense in it, with its place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from orchestrator.core.errors import near
from orchestrator.core.model import Target
from orchestrator.core.rollout import falls
from orchestrator.core.times import parse_duration
from orchestrator.core.waves import FILE, FOLLOW, Rollout, StopWhen, WaveRule
from orchestrator.manifest.diagnostics import Diagnostics, Place, Value
from orchestrator.manifest.layers import label_problem

ALONE = ("rollout", "reruns", "causes", "needs_not_passed", "needs_from")
"""Keys that one file alone may have: half of a rollout from here and half from there would be neither."""
AS_USUAL = 0.01  # the chance of a false alarm that `worse_than_usual: true` stands for


def rollout_of(raw: Mapping[str, Value], diagnostics: Diagnostics) -> Rollout | None:
    """What stands under `rollout`; None where nothing does. The schema allows each value."""
    if "rollout" not in raw:
        return None
    place = Place(raw, "rollout", ("rollout",))
    written = place.value
    return Rollout(
        tuple(_waves(place.at("waves"), diagnostics)) if "waves" in written else (),
        written.get("order", FILE),
        written.get("approve", False),
        _seconds(place.at("soak"), diagnostics) if "soak" in written else 0.0,
        _stop_when(place.at("stop_when"), diagnostics) if "stop_when" in written else StopWhen(),
        written.get("on_stop", FOLLOW),
    )


def check_alone(maps: Sequence[Mapping[str, Value]], diagnostics: Diagnostics) -> None:
    """Reports keys of a rollout that several files have."""
    for key in ALONE:
        having = [one for one in maps if key in one]
        for one in having[1:]:
            where = diagnostics.positions.where(diagnostics.positions.at(having[0], key, of_key=True))
            text = f"`{key}` stands in two files, first at {where}"
            diagnostics.report(text, "keep one of them", Place(one, key, (key,)), of_key=True)


def _stop_when(place: Place, diagnostics: Diagnostics) -> StopWhen:
    written = place.value
    failed = str(written.get("failed", ""))
    if failed.endswith("%") and not float(failed[:-1]):
        diagnostics.report("a share of nothing would stop every run", "write more than 0%", place.at("failed"))
    usual = written.get("worse_than_usual", False)
    return StopWhen(
        failed,
        written.get("after", 10),
        written.get("in_a_row"),
        (AS_USUAL if usual else None) if isinstance(usual, bool) else usual,
        written.get("nothing_passed", True),
    )


def _waves(place: Place, diagnostics: Diagnostics) -> Iterator[WaveRule]:
    unnamed = [not (isinstance(one, dict) and one.get("name")) for one in place.value]
    names = {str(number) for number, is_unnamed in enumerate(unnamed, 1) if is_unnamed}  # those have their number
    last = ""
    for index, written in enumerate(place.value):
        here = place.at(index)
        rule = _wave(here, diagnostics) if isinstance(written, dict) else WaveRule(str(written))
        if rule.name and rule.name in names:
            diagnostics.report(f"two waves are named `{rule.name}`", "name one otherwise", here.at("name"))
        if rule.upto and last and falls(last, rule.upto):
            text = f"{rule.upto} after {last}: bounds count from the first target, so they never fall"
            diagnostics.report(text, f"write {last} or more", here.within("upto"))
        if index == len(place.value) - 1:
            _check_last(rule, here, diagnostics)
        names.add(rule.name)
        last = rule.upto or last
        yield rule


def _wave(place: Place, diagnostics: Diagnostics) -> WaveRule:
    written = place.value
    if "labels" in written and "upto" in written:
        text = "`labels` and `upto` stand side by side"
        diagnostics.report(text, "keep one of them: a wave is told by labels, or by a bound", place)
    elif "labels" not in written and "upto" not in written:
        diagnostics.report("missing key: `upto` or `labels`", "say which targets stand in the wave", place)
    labels = written.get("labels", [])
    for label in labels if isinstance(labels, list) else [labels]:
        if (problem := label_problem(label)) is not None:
            diagnostics.report(*problem, place.at("labels"))
    return WaveRule(
        str(written.get("upto", "")),
        tuple(labels) if isinstance(labels, list) else (labels,),
        written.get("name", ""),
        written.get("approve"),
        _seconds(place.at("soak"), diagnostics) if "soak" in written else None,
    )


def _check_last(rule: WaveRule, place: Place, diagnostics: Diagnostics) -> None:
    """Nothing waits behind the last wave."""
    remedy = "remove it, or write a wave `{upto: 100%}` behind this one"
    for key in ("approve", "soak") if isinstance(place.value, dict) else ():
        if getattr(rule, key):
            diagnostics.report(f"`{key}` at the last wave holds nothing back", remedy, place.at(key))


def _seconds(place: Place, diagnostics: Diagnostics) -> float:
    try:
        return parse_duration(place.value)
    except ValueError as error:
        diagnostics.report(str(error), "", place)
        return 0.0


def check_labels(raw: Mapping[str, Value], targets: Collection[Target], diagnostics: Diagnostics) -> None:
    """Reports labels of waves that no target has."""
    waves = Place(raw, "rollout", ("rollout",)).within("waves") if "rollout" in raw else None
    if waves is None or not isinstance(waves.value, list):
        return
    known: set[str] | None = None
    for index, written in enumerate(waves.value):
        labels = written.get("labels", []) if isinstance(written, dict) else []
        if labels and known is None:
            known = {label for target in targets for label in target.labels}
        for label in labels if isinstance(labels, list) else [labels]:
            if label not in (known or ()):
                text = f"unknown label `{label[:100]}`: no target has it"
                diagnostics.report(text, near(label, known or ()), waves.at(index).at("labels"))
