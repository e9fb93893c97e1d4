"""`orchestrator doctor`: asks whether a run would work, and says what to do where it would not; never triggers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.app.doctor import ACCOUNT, OK, REPO, SEEN, UNKNOWN, WARN, Finding, code_of
from orchestrator.app.doctor import doctor as findings_of
from orchestrator.app.plan import Source
from orchestrator.cli.face import TEXT, Face, verb
from orchestrator.cli.flags import OUTPUT, PARAMS, SELECT
from orchestrator.cli.plan import SOURCE
from orchestrator.core.errors import Exit
from orchestrator.core.frozen import replace
from orchestrator.core.times import counted
from orchestrator.report.words import plain

NAMED = 10  # abouts of one kind of trouble that are named
WORDS = {OK: "ok", WARN: "WARN"}  # else BAD
MACHINE = ("sqlite", "disk", "state")
ORDER = (ACCOUNT, REPO, UNKNOWN, WARN)


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
    """What is not well first, the same trouble once, with what to do; what is well as a number; last how many."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for one in findings:
        if one.kind != OK:
            groups.setdefault((one.kind, one.text.replace(one.about, "it"), one.remedy), []).append(one)
    for _, same in sorted(groups.items(), key=lambda group: ORDER.index(group[0][0])):
        yield from _trouble(same)
    yield from _well([finding for finding in findings if finding.kind == OK])
    yield _sum(findings)


def _trouble(same: Sequence[Finding]) -> Iterator[str]:
    first, *others = same
    about, text = plain(first.about), plain(first.text)
    if others:
        what = "repositories" if first.kind in (REPO, UNKNOWN) else "places"
        about, text = f"{len(same):,} {what}", plain(first.text.replace(first.about, "it"))
    text, _, said = (text, "", first.remedy) if first.remedy else text.rpartition("; ")
    yield f"{WORDS.get(first.kind, 'BAD'):<4}  {about}: {text or said}"
    if text and said:
        yield f"      to do: {plain(said)}"
    if others:
        more = f" and {len(same) - NAMED:,} more in -o json" if len(same) > NAMED else ""
        yield f"      {', '.join(plain(one.about) for one in same[:NAMED])}{more}"


def _well(fine: Sequence[Finding]) -> Iterator[str]:
    """What is well: repositories as a number, every account on a line, and the machine."""
    repos = [finding for finding in fine if finding.text.startswith(SEEN)]
    if len(repos) == 1:
        yield f"ok    {plain(repos[0].about)}: {plain(repos[0].text)}"
    elif repos:
        yield f"ok    {len(repos):,} repositories are there, and can be triggered"
    facts: dict[str, list[str]] = {}
    for finding in fine:
        if not finding.text.startswith(SEEN):
            facts.setdefault(finding.about, []).append(plain(finding.text))
    machine = [f"{about} {text}" for about in MACHINE for text in facts.pop(about, ())]
    for about, texts in [*facts.items(), ("this machine", machine)]:
        if texts:
            yield f"ok    {plain(about)}: {'; '.join(texts)}"


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
