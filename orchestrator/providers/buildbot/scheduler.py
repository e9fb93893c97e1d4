"""What a force scheduler takes, as it describes itself, and whether a target's builders and parameters fit it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Target
from orchestrator.providers.buildbot.declaration import builders_of, properties_of
from orchestrator.providers.kit.answers import quoted, rejected, rows, text

MOST_FIELDS = 1000  # of a scheduler that are looked at
_DECLARE = "declare it in master.cfg, or leave it out: Buildbot would drop it"


class Scheduler(Struct, frozen=True):
    """What a force scheduler takes.

    Args:
        fields: kinds of its parameters, by the name by which they are sent.
        fixed: those whose value it decides itself.
        free: prefixes of pairs of parameters that set a property of any name (`AnyPropertyParameter`).
    """

    name: str
    builders: frozenset[str]
    fields: Mapping[str, str]
    fixed: Mapping[str, object]
    free: tuple[str, ...]

    def fit(self, target: Target) -> dict[str, str]:
        """By what other names the target's parameters are to be sent.

        Raises:
            Rejected: a builder or a parameter is not declared; Buildbot would leave it out without a word.
        """
        if missing := [name for name in builders_of(target) if name not in self.builders]:
            known = ", ".join(sorted(self.builders)[:10]) or "none"
            raise rejected(
                "builder_not_found", f"scheduler {self.name} has no builder {missing[0]!r}", f"known: {known}"
            )
        sent, free = {}, list(self.free)
        for name in properties_of(target):
            if name in self.fields and name not in self.fixed:
                continue
            if name in self.fixed or not free:
                what = "fixes the parameter" if name in self.fixed else "declares no parameter"
                raise rejected("undeclared_parameter", f"scheduler {self.name} {what} {name!r}", _DECLARE)
            sent[name] = free.pop(0)
        if target.branch is not None:
            branches = [name for name in self.fields if name == "branch" or name.endswith("_branch")]
            into = "branch" if "branch" in branches else branches[0] if len(branches) == 1 else None
            if into is None or self.fixed.get(into, target.branch) != target.branch:
                raise rejected("undeclared_parameter", f"scheduler {self.name} takes no branch", _DECLARE)
            sent.update({} if into == "branch" else {"branch": into})
        return sent

    @property
    def shows_reason(self) -> bool:
        """Whether the reason, and with it the marker, can be given."""
        return "reason" in self.fields and "reason" not in self.fixed


def scheduler_in(name: str, row: Mapping[str, Any]) -> Scheduler:
    """A force scheduler as it describes itself."""
    fields: dict[str, str] = {}
    fixed: dict[str, object] = {}
    free = []
    for one in _fields(row.get("all_fields")):
        full, kind = text(one.get("fullName"), 200), quoted(one.get("type"), 40)
        inner = {str(each.get("fullName")) for each in rows(one.get("fields"))}
        if full and inner == {f"{full}_name", f"{full}_value"}:
            free.append(full)
        elif full and not inner:
            fields[full] = kind
            fixed.update({full: one.get("default")} if kind == "fixed" else {})
    for each in free:
        fields.pop(f"{each}_name", None)
        fields.pop(f"{each}_value", None)
    names = row.get("builder_names")
    builders = frozenset(each for each in names if isinstance(each, str)) if isinstance(names, list) else frozenset()
    return Scheduler(name, builders, fields, fixed, tuple(free))


def _fields(given: object) -> Iterator[Mapping[str, Any]]:
    """All parameters, also those within others; bounded, as whoever answers may nest without end."""
    waiting = rows(given)
    for _ in range(MOST_FIELDS):
        if not waiting:
            return
        one = waiting.pop(0)
        yield one
        waiting += rows(one.get("fields"))
