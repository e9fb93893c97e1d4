"""What may stand where somebody types: runs and targets of the state, accounts and targets of the manifest, and words.

Nobody is asked over the network and no secret is read. What is large is left out: an offer that comes late is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from orchestrator.core.errors import OrchestratorError
from orchestrator.core.model import Outcome, Target

if TYPE_CHECKING:
    from orchestrator.app.context import Context
    from orchestrator.core.model import Plan
    from orchestrator.journal.port import RunRow
    from orchestrator.journal.store import SqlJournal

FILE, PART, WORD = "file", "part", "word"
MOST = 200  # words that are offered
MANY = 40  # targets above which owners are offered first
RUNS = 30  # runs that are offered where nothing was typed yet
SMALL = 1 << 20  # bytes of a manifest that is read
TARGETS = 20_000  # of a run that is read
OF_MANIFEST = ("check", "plan", "run", "doctor")
OPEN_ONLY = ("resume", "cancel", "approve", "pause", "unpause")  # verbs for which a run that has ended is no choice


class Offer(NamedTuple):
    """A word, what is said of it, and whether more follows."""

    word: str
    help: str = ""
    kind: str = WORD


class Asked(NamedTuple):
    """What is known of the command line.

    Args:
        verb: what it is about.
        typed: the values that stand before, by the names of parameters.
        begun: what was typed of the word.
        context: the way to the state.
        formats: what the verb may write, as it declares that.
    """

    verb: str
    typed: Mapping[str, Any]
    begun: str
    context: Context
    formats: Sequence[str] | None = ()


def offered(name: str, ctx: click.Context, begun: str) -> list[CompletionItem]:
    """What an option or argument completes by a function of this module; nothing where anything is wrong.

    Args:
        name: of the function.
    """
    from orchestrator.cli.face import Face
    from orchestrator.cli.flags import Flags
    from orchestrator.cli.main import Machine

    machine = ctx.find_object(Machine)
    assert machine is not None  # noqa: S101  # whoever asks hands one in
    flags = Flags(state=ctx.params.get("state"), sandbox=bool(ctx.params.get("sandbox")))
    face = Face(machine, flags, observes=False)
    command: Any = ctx.command
    asked = Asked(str(command.name), ctx.params, begun, face.context, getattr(command, "formats", ()))
    found: list[Offer] = []
    with suppress(OrchestratorError, OSError):  # whoever types wants no message in the middle of the line
        some = (one for one in OFFERS[name](asked) if one.kind == FILE or one.word.startswith(begun))
        found.extend(islice(some, MOST))
    return [CompletionItem(one.word, type=one.kind, help=one.help) for one in found]


def files(asked: Asked) -> Iterator[Offer]:
    """Files: the shell completes them."""
    yield Offer("", kind=FILE)


# -- of the state -----------------------------------------------------------------------------------------------


def runs(asked: Asked) -> Iterator[Offer]:
    """Names of runs, `latest`, and ids, the newest first."""
    rows = [row for row in _rows(asked) if row.ended_at is None or asked.verb not in OPEN_ONLY]
    if rows:
        yield Offer("latest", f"{rows[0].name} {rows[0].id}")
    yield from (Offer(f"@{name}", "the latest of that name") for name in dict.fromkeys(row.name for row in rows))
    for row in rows if asked.begun else rows[:RUNS]:
        stands = "open" if row.ended_at is None else f"exit {row.exit_code}"
        yield Offer(row.id, f"{row.name}, {row.targets:,} targets, {stands}")


def names(asked: Asked) -> Iterator[Offer]:
    """The names of runs."""
    yield from (Offer(name) for name in dict.fromkeys(row.name for row in _rows(asked)))


def runs_or_targets(asked: Asked) -> Iterator[Offer]:
    """Where either may stand: for `status`, and as the first word of `why`; first what the verb is mostly about."""
    is_why = asked.verb == "why"
    if asked.begun or is_why:
        yield from targets(asked)
    if not is_why or (asked.begun and not asked.typed.get("words")):
        yield from runs(asked)


def targets(asked: Asked) -> Iterator[Offer]:
    """Targets, as `why` takes them: without their account, unless that was typed."""
    yield from _by_owner(asked, [one.id if ":" in asked.begun else one.id.partition(":")[2] for one in _known(asked)])


def globs(asked: Asked) -> Iterator[Offer]:
    """What chooses among targets: repositories with their branches, or ids once an account was typed."""
    plain = [one.repo if one.branch is None else f"{one.repo}@{one.branch}" for one in _known(asked)]
    yield from _by_owner(asked, [one.id for one in _known(asked)] if ":" in asked.begun else plain)


def _known(asked: Asked) -> Sequence[Target]:
    """The targets of the run that was named, by default the latest; where a verb takes none, of the manifest."""
    if asked.verb in OF_MANIFEST:
        return _planned(asked).targets
    words = asked.typed.get("words") or ()
    return _of_run(asked, asked.typed.get("run") or asked.typed.get("before") or (words[0] if words else None))


def _by_owner(asked: Asked, words: Iterable[str]) -> Iterator[Offer]:
    """These words, each once; where they are many, first only how they begin, up to a slash."""
    fitting = [word for word in dict.fromkeys(words) if word.startswith(asked.begun)]
    at = len(asked.begun)
    owners = dict.fromkeys(word[: word.index("/", at) + 1] for word in fitting if "/" in word[at:])
    if len(fitting) > MANY and len(owners) > 1:
        yield from (Offer(owner, kind=PART) for owner in owners)
    else:
        yield from map(Offer, fitting)


def requests(asked: Asked) -> Iterator[Offer]:
    """Targets, each with `=` behind it."""
    yield from (Offer(f"{one.word}=", kind=PART) for one in targets(asked) if one.kind == WORD)


def _rows(asked: Asked) -> Sequence[RunRow]:
    from orchestrator.app.runs import runs as runs_of
    from orchestrator.cli.face import run_async

    return run_async(runs_of(asked.context))


def _of_run(asked: Asked, run: str | None) -> Sequence[Target]:
    from orchestrator.app.context import readable
    from orchestrator.app.which import latest
    from orchestrator.cli.face import run_async

    async def found() -> Sequence[Target]:
        async with readable(asked.context, run) as journal:
            return await _within_bounds(journal)

    async def _within_bounds(journal: SqlJournal) -> Sequence[Target]:
        row = await latest(journal, run)
        return await journal.targets(row.id) if row.targets <= TARGETS else ()

    return run_async(found())


# -- of the manifest --------------------------------------------------------------------------------------------


def accounts(asked: Asked) -> Iterator[Offer]:
    """Accounts of the manifest, each with `=` behind it."""
    yield from (Offer(f"{name}=", one.type, PART) for name, one in _planned(asked).accounts.items())


def labels(asked: Asked) -> Iterator[Offer]:
    """Labels of the manifest's targets, or of the run's."""
    yield from _listed(asked.begun, dict.fromkeys(label for one in _known(asked) for label in one.labels))


def params(asked: Asked) -> Iterator[Offer]:
    """Parameters of the manifest, each with `=` behind it."""
    yield from (Offer(f"{name}=", kind=PART) for name in _planned(asked).params)


def _planned(asked: Asked) -> Plan:
    """The plan of the manifest, as far as nobody need be asked.

    Raises:
        UsageError: it is wrong.
        OSError: it is not there, or large.
    """
    from orchestrator import manifest as manifests
    from orchestrator.app.plan import DEFAULT, Choices, Source, read_manifest, today

    name = asked.typed.get("manifest") or DEFAULT
    if asked.context.path(name).stat().st_size > SMALL:
        raise OSError("too large to be read while somebody types")
    read = read_manifest(Source(name), Choices(), asked.context, strict_params=False)
    return manifests.expand(read, manifests.Answers(), today=today(asked.context))


# -- words ------------------------------------------------------------------------------------------------------


def formats(asked: Asked) -> Iterator[Offer]:
    """Formats of reports, or the few that the verb writes; behind `FORMAT=` files."""
    from orchestrator.report import FORMATS

    name, equals, file = asked.begun.partition("=")
    if equals:
        yield from (Offer(f"{name}={one.word}", kind=one.kind) for one in _paths(asked.context.cwd, file))
        return
    own = ("text", "json", "curl") if asked.verb == "plan" else asked.formats
    yield from (Offer(one) for one in own or ()) if own else (Offer(one, it.help) for one, it in FORMATS.items())


def outcomes(asked: Asked) -> Iterator[Offer]:
    """Outcomes, several with commas between them."""
    yield from _listed(asked.begun, [*(one.value for one in Outcome), "none"])


def providers(asked: Asked) -> Iterator[Offer]:
    """Types of accounts."""
    from orchestrator.providers import registry

    yield from map(Offer, registry.names())


def topics(asked: Asked) -> Iterator[Offer]:
    """What there is help for."""
    from orchestrator.cli.main import VERBS
    from orchestrator.cli.topics import TOPICS

    yield from (Offer(name, one.line) for name, one in TOPICS.items())
    yield from (Offer(name, text) for name, (_, text) in VERBS.items())


def _listed(begun: str, words: Iterable[str]) -> Iterator[Offer]:
    """One more of a list with commas."""
    before = begun[: begun.rfind(",") + 1]
    yield from (Offer(before + word) for word in words if word not in before.split(","))


def _paths(cwd: Path, begun: str) -> Iterator[Offer]:
    """Files that begin so."""
    folder, _, name = begun.rpartition("/")
    above = begun[: len(begun) - len(name)]
    with os.scandir(cwd / Path(folder or ("/" if above else ".")).expanduser()) as found:
        for one in sorted(found, key=lambda one: one.name):
            if one.name.startswith(name or tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")):
                yield Offer(f"{above}{one.name}{'/' if one.is_dir() else ''}", kind=PART if one.is_dir() else WORD)


OFFERS: Mapping[str, Callable[[Asked], Iterator[Offer]]] = {
    one.__name__: one
    for one in (
        files,
        runs,
        names,
        runs_or_targets,
        targets,
        globs,
        requests,
        accounts,
        labels,
        params,
        formats,
        outcomes,
        providers,
        topics,
    )
}
