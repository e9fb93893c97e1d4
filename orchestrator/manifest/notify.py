"""`notify:` of a manifest: who is told what of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.core.model import Notify
from orchestrator.manifest.accounts import reference
from orchestrator.manifest.diagnostics import Diagnostics, Place, Value


def notify_of(raw: Mapping[str, Value], diagnostics: Diagnostics) -> tuple[Notify, ...]:
    """Who is told what, as it is written; what is no reference is reported."""
    return tuple(_each(raw, diagnostics))


def _each(raw: Mapping[str, Value], diagnostics: Diagnostics) -> Iterator[Notify]:
    place = Place(raw, "notify", ("notify",))
    for index, written in enumerate(raw.get("notify", ())):
        to = reference(place.at(index).at("to"), diagnostics)
        key = reference(place.at(index).at("key"), diagnostics) if "key" in written else None
        if to is not None:
            on = written.get("on", Notify(to).on)
            yield Notify(to, (on,) if isinstance(on, str) else tuple(on), key)
