"""What is wrong with a manifest, said so that a tired person can repair it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # a name may hold them; a message is one line
SHOWN = 1000  # problems of one file that are printed; nobody repairs more in one go


class Problem(Struct, frozen=True):
    """One thing that must be repaired.

    Args:
        where: `file:line:column`, or the file alone where there is no place in it.
        keys: the path of keys, `targets[3].branches[0]`; empty for the file as a whole.
        text: what is wrong.
        remedy: what to do about it; empty where the text says it.
        order: sorts problems as they stand in the files.
    """

    where: str
    keys: str
    text: str
    remedy: str = ""
    order: int = 0

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Problem and _KEY(self) == _KEY(other)

    def __hash__(self) -> int:
        return hash(_KEY(self))

    def __str__(self) -> str:
        said = f"{self.text}; {self.remedy}" if self.remedy else self.text
        line = ": ".join(part for part in (self.where, self.keys, said) if part)
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], line)


_KEY = attrgetter("where", "keys", "text", "remedy")


class ManifestError(UsageError):
    """Everything that is wrong with a manifest, in the order of its lines; as text, a problem a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.order))
        super().__init__(self.problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"and {len(self.problems) - SHOWN} more problems")
        return "\n".join(lines)


def near(word: str, known: Iterable[str]) -> str:
    """The remedy for a word that is not known: the nearest one, or all where they are few."""
    import difflib  # only when something is wrong: it would slow every start

    words = sorted(set(known))
    nearest = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if nearest:
        return f"did you mean `{nearest[0]}`?"
    if 0 < len(words) <= 30:
        return f"known here: {', '.join(words)}"
    return "look it up in the reference of the manifest"
