"""Journals in small, for tests of reports: `read` loads a golden folder's `journal.json`, `told` folds facts.

A `journal.json` has the run's id, the instant of the report, the targets (fields of `model.Target`), and the entries
as the journal holds them: [account, at, kind, target, fields]. `at` counts in seconds from START.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator.core.events import Event, RunMade, decode, encode, to_json
from orchestrator.core.history import History
from orchestrator.core.model import COORDINATOR, Account, Limit, Target, Timeouts
from orchestrator.journal.port import Entry

HERE = Path(__file__).parent
START = 1767574800.0  # 2026-01-05T01:00:00Z
CASES = sorted(folder.name for folder in HERE.iterdir() if (folder / "journal.json").exists())

TRAVIS = Account(
    "travis",
    "travis",
    "https://api.travis-ci.com",
    "env:TRAVIS_TOKEN",
    limits=(
        Limit("triggers", 40, 30, written=True),
        Limit("calls", 1800, 60),
        Limit("triggers_per_repo", 10, 3600, scope="repo"),
    ),
)
ACCOUNTS = {"travis": to_json(TRAVIS)}


class Told:
    """A run's history together with the entries that it was folded from."""

    def __init__(self, run_id: str, targets: Iterable[Target], entries: Iterable[Entry], now: float) -> None:
        self.run_id, self.entries, self.now = run_id, list(entries), now
        self.history = History(list(targets))
        for entry in self.entries:
            self.history.add(entry.account, entry.seq, entry.at, entry.event)


def target(name: str, /, **fields: Any) -> Target:
    """A target whose repo and branch are read from a plain id."""
    account, _, rest = name.partition(":")
    repo, _, branch = rest.partition("#")[0].partition("[")[0].partition("@")
    return Target(**{"id": name, "account": account, "repo": repo, "branch": branch or None, **fields})


def told(targets: Iterable[Target], *facts: tuple[float, Event], made: RunMade | None = None, now: float = 0) -> Told:
    """The history of a run: facts with their time in seconds after START; account facts belong to `travis`."""
    first = made or RunMade("nightly", "nightly.yaml", "", accounts=ACCOUNTS)
    entries = [Entry(COORDINATOR, 1, START, first)]
    for number, (at, event) in enumerate(facts, 2):
        entries.append(Entry(_stream(event), number, START + at, event))
    return Told("r1", targets, entries, START + now)


def _stream(event: Event) -> str:
    whole_run = {"run_made", "wave_opened", "released", "stopped", "interrupted", "run_ended"}
    return COORDINATOR if event.kind in whole_run else "travis"


def read(case: str) -> Told:
    """The journal of a golden folder; every entry goes through the journal's own encoding."""
    raw = json.loads((HERE / case / "journal.json").read_text(encoding="utf-8"))
    entries = [
        Entry(account, number, START + at, decode(kind, about, json.dumps(fields)))
        for number, (account, at, kind, about, fields) in enumerate(raw["entries"], 1)
    ]
    for entry, (_, _, kind, about, _) in zip(entries, raw["entries"], strict=True):
        assert decode(kind, about, encode(entry.event)) == entry.event
    return Told(raw["run"], [_target(one) for one in raw["targets"]], entries, START + raw["now"])


def _target(fields: dict[str, Any]) -> Target:
    if "timeouts" in fields:
        fields = {**fields, "timeouts": Timeouts(**fields["timeouts"])}
    for name in ("needs", "labels"):
        fields = {**fields, name: tuple(fields.get(name, ()))}
    return Target(**{**fields, "matrix": tuple((key, value) for key, value in fields.get("matrix", ()))})
