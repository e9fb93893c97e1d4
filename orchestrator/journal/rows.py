"""The targets of a run as rows: what is each target's own in columns, the rest as JSON that many targets share.

So 100,000 targets stay small on disk and in memory: equal requests are one object again when they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from orchestrator.core.frozen import defaults_of, from_json, to_json
from orchestrator.core.model import Target

OWN = ("id", "account", "repo", "branch", "wave", "where")
REST = tuple(name for name in Target.__struct_fields__ if name not in (*OWN, "request"))

Row = tuple[str, str, str, str | None, int, str, int | None, int | None]
"""The values of OWN, then the numbers of the parts that hold `request` and the rest; None for nothing of note."""

_rest_of = attrgetter(*REST)
_DEFAULTS = defaults_of(Target)


class Places:
    """What a run's events need to know of its targets: their ids by place, and their places by id."""

    __slots__ = ("_places", "ids", "num")

    def __init__(self, num: int, ids: Sequence[str]) -> None:
        self.num = num
        self.ids = ids
        self._places: dict[str, int] | None = None

    @property
    def places(self) -> Mapping[str, int]:
        """Made for those who append; readers need none."""
        if self._places is None:
            self._places = {id_: place for place, id_ in enumerate(self.ids)}
        return self._places


class Parts:
    """JSON texts, each once, numbered from 1."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}
        self._requests: dict[int, int | None] = {}
        self._rests: dict[Any, int | None] = {}

    @property
    def numbered(self) -> Mapping[int, str]:
        """The texts by number."""
        return {number: text for text, number in self.texts.items()}

    def row(self, target: Target) -> Row:
        """The target as a row."""
        own = (target.id, target.account, target.repo, target.branch, target.wave, target.where)
        return (*own, self._request(target.request), self._rest(target))

    def _request(self, request: Mapping[str, Any]) -> int | None:
        if not request:
            return None
        # By identity first: a manifest's defaults are one object. The targets keep it alive meanwhile.
        if (number := self._requests.get(id(request))) is None:
            number = self._requests[id(request)] = self._number(request)
        return number

    def _rest(self, target: Target) -> int | None:
        rest = _rest_of(target)
        if rest not in self._rests:
            said = {
                name: to_json(value) for name, value in zip(REST, rest, strict=True) if value != _DEFAULTS.get(name)
            }
            self._rests[rest] = self._number(said) if said else None
        return self._rests[rest]

    def _number(self, value: Mapping[str, Any]) -> int:
        text = json.dumps(value, separators=(",", ":"), default=to_json)
        return self.texts.setdefault(text, len(self.texts) + 1)


def targets_of(rows: Iterable[Sequence[Any]], parts: Mapping[int, str]) -> list[Target]:
    """The targets that were written as these rows.

    Raises:
        ValueError, TypeError, KeyError, RecursionError, JournalError: they were not written by `Parts`.
    """
    requests: dict[int | None, Mapping[str, Any]] = {None: {}}
    rests: dict[int | None, Mapping[str, Any]] = {None: {}}
    same: dict[Any, Any] = {}
    found = []
    for id_, account, repo, branch, wave, where, request, rest in rows:
        if not (type(id_) is type(account) is type(repo) is type(where) is str and type(wave) is int):
            raise TypeError("a target's columns are of other types")
        if not (branch is None or type(branch) is str):
            raise TypeError("a target's branch is no text")
        if request not in requests:
            requests[request] = _object(parts[request])
        if rest not in rests:
            rests[rest] = _kept(_object(parts[rest]))
        found.append(
            Target(
                id_,
                same.setdefault(account, account),
                repo,
                same.setdefault(branch, branch),
                wave=wave,
                where=where,
                request=requests[request],
                **rests[rest],
            )
        )
    return found


def _object(text: str) -> Mapping[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("a part is no object")
    return value


def _kept(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields as values; a field that this version does not know is left out."""
    model = from_json(
        Target, {"id": "", "account": "", "repo": "", **{name: said[name] for name in REST if name in said}}
    )
    return {name: getattr(model, name) for name in said if name in REST}
