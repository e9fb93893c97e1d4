"""`orchestrator doctor`: asks whether a run would work, and says what to do where it would not; never triggers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.app.doctor import ACCOUNT, OK, REPO, UNKNOWN, WARN, Finding, code_of
from orchestrator.app.doctor import doctor as findings_of
from orchestrator.app.plan import Source
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import OUTPUT, PARAMS, SELECT
from orchestrator.cli.plan import SOURCE
from orchestrator.core.errors import Exit
from orchestrator.core.frozen import replace
from orchestrator.core.times import counted
from orchestrator.report.words import plain

NAMED = 50
_SEVERITY = (WARN, UNKNOWN, REPO, ACCOUNT)  # the worst stands last, where it is still on the screen


@verb(
    *SOURCE,
    flags=(*PARAMS, *SELECT, *OUTPUT),
    formats=TEXT,
    examples=(
        ("would a run of orchestrator.yaml work?", "orchestrator doctor"),
        ("only some of it, quietly", "orchestrator doctor --only 'acme/*' -q"),
    ),
)
async def doctor(face: Face, manifest: str | None, repos: tuple[str, ...], lines: str | None, like: str | None) -> Exit:
    """Ask each account of MANIFEST who we are, and each repository whether it is there, active and allowed.

    Nothing is triggered. Exit 0 when all is well, 1 when a repository would be refused or does not answer, 4 when an
    account would.
    """
    findings = await findings_of(Source(manifest, repos, lines, like), face.choices, face.context)
    code = code_of(findings)
    if face.flags.stdout == "json":
        face.json([replace(one, kind=REPO) if one.kind == UNKNOWN else one for one in findings])
    elif not (face.flags.quiet and code is Exit.OK):
        face.tell_lines(_lines(findings))
    return code


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """What is fine, of repositories only a few; then what is not, in full; last how much of which there is."""
    fine = [finding for finding in findings if finding.kind == OK]
    hidden = [finding for finding in fine if "/" in finding.about][NAMED:]
    skip = set(map(id, hidden))
    yield from (_line(finding) for finding in fine if id(finding) not in skip)
    if hidden:
        yield f"ok    ... {len(hidden):,} more"
    wrong = sorted((finding for finding in findings if finding.kind != OK), key=lambda one: _SEVERITY.index(one.kind))
    yield from map(_line, wrong)
    yield _sum(findings)


def _line(finding: Finding) -> str:
    mark = {OK: "ok  ", WARN: "WARN"}.get(finding.kind, "BAD ")
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{mark}  {plain(finding.about)}: {plain(finding.text)}{remedy}"


def _sum(findings: Sequence[Finding]) -> str:
    count = Counter(finding.kind for finding in findings)
    checks = counted(len(findings), "check")
    unknown = f"{count[UNKNOWN]:,} of them got no answer" if count[UNKNOWN] else ""
    if count[ACCOUNT]:
        return f"{checks}: a run would not work; fix the BAD lines first"
    if count[REPO]:
        would = "1 repository" if count[REPO] == 1 else f"{count[REPO]:,} repositories"
        others = unknown or "the others are fine"
        return f"{checks}: {would} would be refused, {others}; nothing was triggered"
    if unknown:
        return f"{checks}, {unknown}: whether a run would work is not known; try again later; nothing was triggered"
    found = counted(count[WARN], "warning") if count[WARN] else "no problems found"
    return f"{checks}, {found}; nothing was triggered"
