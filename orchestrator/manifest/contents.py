"""What a target says besides its name: the request, the reason to skip it, how long things may take."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from orchestrator.core.frozen import replace
from orchestrator.core.model import Json, Timeouts
from orchestrator.manifest.entries import Entry, Teller
from orchestrator.manifest.layers import Layer
from orchestrator.manifest.template import Compiled, Undefined, fill, is_constant
from orchestrator.providers.port import Declaration

_REMEMBERED = 1000  # layers and messages
K = TypeVar("K")
V = TypeVar("V")


class Contents:
    """Makes them of layers; what is the same for many targets is made once and shared.

    Args:
        name: the manifest's, which stands before the marker where there is no message.
        warn: takes sentences for a person.

    Attributes:
        asked_the_day: whether anything depended on `today`.
    """

    def __init__(
        self,
        name: str,
        declared: Mapping[str, Declaration],
        teller: Teller,
        today: datetime.date,
        warn: Callable[[str], None],
    ) -> None:
        self.name = name
        self.declared = declared
        self.teller = teller
        self.today = today
        self.warn = warn
        self.asked_the_day = False
        self._requests: dict[int, tuple[Layer, Mapping[str, Json]]] = {}
        self._timeouts: dict[tuple[str, tuple[tuple[str, float], ...]], Timeouts] = {}
        self._messages: dict[tuple[str, str], str | None] = {}

    def request(
        self, layer: Layer, names: Mapping[str, str], account: str, entry: Entry | None = None
    ) -> Mapping[str, Json]:
        """What the trigger says; the same object for all targets of a layer without templates.

        Args:
            entry: whom to blame; None blames the defaults.
        """
        known = self._requests.get(id(layer))
        if known is not None:
            return known[1]
        said = dict(layer.request)
        env = {name: value for name, value in layer.env.items() if value is not None}
        if env:
            said["env"] = env
        if all(is_constant(value) for value in said.values()):
            _bounded(self._requests)[id(layer)] = (layer, said)  # the layer too, so that its identity is not reused
            self._check(said, layer, account, entry)
            return said
        return self._filled(said, layer, names, account, entry)

    def _filled(
        self, said: dict[str, Compiled], layer: Layer, names: Mapping[str, str], account: str, entry: Entry | None
    ) -> Mapping[str, Json]:
        try:
            request: dict[str, Json] = fill(said, names)
        except Undefined as error:
            if entry is not None:
                self.teller.undefined(error.name, names, entry)
            return {}
        self._check(request, layer, account, entry)
        return request

    def _check(self, request: Mapping[str, Json], layer: Layer, account: str, entry: Entry | None) -> None:
        config = request.get("config")
        if "env" in request and isinstance(config, dict) and "env" in config:
            self._blame(entry, "`env` together with `config.env`", "write all of it in one of the two", "config")
        said = request.get("message")
        if said is None and layer.marked is False:
            return
        message = said if isinstance(said, str) else self.name
        key = (account, message)
        if key not in self._messages:
            _bounded(self._messages)[key] = self.declared[account].message_problem(message)
        problem = self._messages[key]
        if problem is not None:
            self._blame(entry, problem, "", "message")

    def _blame(self, entry: Entry | None, text: str, remedy: str, key: str) -> None:
        if entry is None:
            self.teller.default_problem(text, remedy, key)
        else:
            self.teller.problem(entry, text, remedy, key)

    def timeouts(self, layer: Layer, account: str) -> Timeouts:
        """How long things may take; `settle` is the provider's unless it is written."""
        key = (account, tuple(layer.timeouts.items()))
        if key not in self._timeouts:
            base = Timeouts(settle=self.declared[account].settle)
            self._timeouts[key] = replace(base, **layer.timeouts)
        return self._timeouts[key]

    def skip(self, said: Compiled, names: Mapping[str, str], entry: Entry | None = None) -> str | None:
        """The reason not to trigger it; None when there is none, or its time is over."""
        if said is None:
            return None
        filled = self.teller.fill(said, names, entry) if entry is not None else fill(said, names)
        if not isinstance(filled, dict):
            return filled if isinstance(filled, str) else None
        until = filled.get("until")
        if until is None:
            return str(filled["reason"])
        self.asked_the_day = True
        try:
            over = self.today >= day(until)
        except ValueError:
            self._blame(entry, f"`until` is no date: {str(until)[:60]!r}", "write it as 2027-03-01", "skip")
            return None
        if over:
            self.warn(f"a skip ended on {until} ({filled['reason']}): remove it from the manifest")
            return None
        return f"{filled['reason']} (until {until})"


def _bounded(memo: dict[K, V]) -> dict[K, V]:
    """Forgets everything when there is a lot: what is asked often is soon known again."""
    if len(memo) >= _REMEMBERED:
        memo.clear()
    return memo


def day(said: Any) -> datetime.date:
    """The day of `until`, written as text or as YAML's own date.

    Raises:
        ValueError: it is none.
    """
    if isinstance(said, datetime.datetime):
        return said.date()
    return said if isinstance(said, datetime.date) else datetime.date.fromisoformat(str(said))
