"""The rows of all targets as data in the page, which a script draws: columns, and each text that repeats only once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.core.model import Outcome
from orchestrator.report.formats.html.head import key_of, mark_of, prefix_of
from orchestrator.report.groups import Group, reason_of
from orchestrator.report.view import Report, Row
from orchestrator.report.words import link, plain, short

REPO, BUILD = "\x01", "\x02"  # in a pattern of URLs, where the repository and the build's id stand
_REPO = re.compile(r"[@\[#]")  # what ends a repository in an id


class Texts:
    """Texts, each kept once; a text's number is its place."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, text: Any) -> int:
        """The number of a text; of a new one the next."""
        return self._numbers.setdefault(text, len(self._numbers))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._numbers)


def table(report: Report, groups: Sequence[Group], at_most: int) -> str:
    """The data, as JSON that may stand in a `script` element.

    Args:
        groups: what did not pass, by cause: it comes first, and a row knows its group.
        at_most: rows.
    """
    group_of = {row.id: number for number, group in enumerate(groups) for row in group.rows}
    first = [row for group in groups for row in group.rows]
    rows = [*first, *(row for row in report.targets if row.id not in group_of)][:at_most]
    marks, texts, urls, labels, prefix = Texts(), Texts(), Texts(), Texts(), prefix_of(report)
    ids = [plain(row.id).removeprefix(prefix) for row in rows]
    columns: dict[str, list[Any]] = {
        "id": ids,
        "mark": [marks.number((key_of(one), one.word, one.symbol, one.meaning)) for one in map(mark_of, rows)],
        "text": [texts.number(_reason(row)) for row in rows],
        "group": [group_of.get(row.id, -1) for row in rows],
        "queued": [-1 if row.queued_seconds is None else row.queued_seconds for row in rows],
        "ran": [-1 if row.run_seconds is None else row.run_seconds for row in rows],
        "build": [short(row.build_number or "", 40) for row in rows],
        "url": [urls.number(_pattern(row, shown)) for row, shown in zip(rows, ids, strict=True)],
        "key": [plain(row.build_id or "") for row in rows],
        "label": [labels.number(short(" ".join(row.labels), 200)) for row in rows],
        "wave": [row.wave for row in rows],
    }
    return script_json(
        {
            "run": report.run.id,
            "suffix": report.suffix,
            "prefix": prefix,
            "marks": list(marks),
            "texts": list(texts),
            "urls": list(urls),
            "labels": list(labels),
            "rows": len(rows),
            **{name: values if name == "id" else _once(values) for name, values in columns.items()},
        }
    )


def _once(values: list[Any]) -> Any:
    """The one value of a column that has but one, else all of them."""
    return values[0] if len(set(values)) == 1 else values


def _reason(row: Row) -> str:
    if row.code == "account_stopped":  # why it is, the page says once
        return "its account is stopped"
    return "" if row.outcome == Outcome.PASSED else short(reason_of(row))


def _pattern(row: Row, shown: str) -> str:
    """The row's URL with the repository and the build's id cut out, so that others have the same.

    Args:
        shown: the id as the page has it; the page takes the repository from it.
    """
    url, key, repo = link(row.url) or "", plain(row.build_id or ""), _REPO.split(shown, maxsplit=1)[0]
    head, found, tail = url.rpartition(key) if len(key) > 2 else (url, "", "")
    made = f"{head}{BUILD}{tail}" if found else url
    made = made.replace(repo, REPO, 1) if len(repo) > 2 else made
    return made if REPO not in url and made.replace(REPO, repo, 1).replace(BUILD, key, 1) == url else url


def script_json(value: object) -> str:
    """JSON in which nothing can end the element that it stands in, or begin a comment."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
