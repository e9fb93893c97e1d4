"""The three steps from a file to a plan: read it, see what has to be asked, expand it."""

from __future__ import annotations

import datetime
import hashlib
import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence

from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome, Plan
from orchestrator.manifest.accounts import Accounts, accounts_of, default_of
from orchestrator.manifest.brakes import idle_caps, quiet_of
from orchestrator.manifest.diagnostics import ManifestError, Problem, near
from orchestrator.manifest.expand import Expander
from orchestrator.manifest.files import STDIN, Files, Listing, beside
from orchestrator.manifest.layers import Compiler, Layer, lacking
from orchestrator.manifest.lookups import Answers, Questions
from orchestrator.manifest.manifest import Expect, Manifest
from orchestrator.manifest.merge import merged
from orchestrator.manifest.params import values_of
from orchestrator.manifest.positions import Value, pack
from orchestrator.manifest.schema import shape_of
from orchestrator.manifest.validate import Judge
from orchestrator.providers.port import Declaration


def read(
    source: str,
    text: bytes,
    *,
    declarations: Mapping[str, Declaration],
    params: Mapping[str, str] | None = None,
    fallback: Mapping[str, str] | None = None,
    run_id: str = "",
    load: Callable[[str], bytes],
    strict_params: bool = True,
    formats: Collection[str] | None = None,
) -> Manifest:
    """Reads a manifest and every file that it names.

    Args:
        source: the file's name for messages and for paths beside it; `-` for stdin.
        declarations: the providers that are known, by type.
        params: values of parameters; one that the manifest lacks is an error.
        fallback: values by upper-case name, from the environment; ones that the manifest lacks are ignored.
        run_id: for `${{ run.id }}`.
        load: reads a file that the manifest names (`-`: stdin), bounded; raises OSError.
        strict_params: whether a parameter without a value is an error.
        formats: the report formats that are known; None leaves that to whoever writes them.

    Raises:
        ManifestError: all that is wrong.
    """
    files = Files(load)
    files.read_all(source, text)
    judge = Judge(shape_of(_named_types(declarations, files.maps)), files.marks)
    broken_accounts = _judge(files, judge)
    raw = merged(files.maps, files.marks)
    quiet = quiet_of(raw, (), files) if "quiet_hours" in raw else ()
    accounts = accounts_of(raw.get("providers"), declarations, files, quiet)
    name = raw.get("name", _stem(source))
    values = values_of(raw.get("params", {}), params or {}, fallback or {}, files, strict=strict_params)
    constants = {f"params.{key}": value for key, value in values.items()} | {"run.id": run_id, "run.name": name}
    references = {key for given in accounts.declared.values() for key in given.keys if given.keys[key].reference}
    compiler = Compiler(files, constants, frozenset(references))
    manifest = Manifest(
        name=name,
        source=source,
        digest=hashlib.sha256(text).hexdigest(),
        params=values,
        accounts=accounts.accounts,
        declared=accounts.declared,
        fail_on=frozenset(Outcome(word) for word in raw["fail_on"]) if "fail_on" in raw else DEFAULT_FAIL_ON,
        reports=_reports(raw.get("reports", {}), files, formats),
        expect=Expect(**raw.get("expect", {})),
        rollout=raw.get("rollout"),
        unsupported=tuple(f"{key} is not supported yet" for key in ("rollout",) if key in raw),
        warnings=tuple(accounts.warnings),
        raw=raw,
        listings=_listings(files, judge),
        files=files,
        compiler=compiler,
        bases=_bases(raw, accounts, declarations, compiler),
        broken_accounts=frozenset(broken_accounts | (raw.get("providers", {}).keys() - accounts.accounts.keys())),
    )
    _check(manifest)
    return manifest


def questions(manifest: Manifest, answers: Answers | None = None) -> Questions:
    """What must be asked before `expand`, given what is known; ask again until it is empty.

    Raises:
        ManifestError: what is wrong can be seen without asking.
    """
    expander = Expander(manifest, answers or Answers(), datetime.date.min)
    expander.run()
    if manifest.files.problems:
        raise ManifestError(manifest.files.problems)
    manifest.walked[:] = [expander]
    numbers = () if expander.owners else expander.targets.numbers()
    return Questions(tuple(expander.owners), tuple(expander.targets.branches), tuple(numbers))


def expand(manifest: Manifest, answers: Answers | None = None, *, today: datetime.date) -> Plan:
    """The plan: every target of the manifest, in order.

    Args:
        answers: to `questions`; without them, a manifest that needs some is an error.
        today: decides about `skip ... until`.

    Raises:
        ManifestError: everything that is wrong with the targets.
    """
    given = answers or Answers()
    expander = _walked(manifest, given, today)
    if not given.offline and not expander.is_complete:
        raise ValueError("`questions` were not answered")  # a mistake of the caller, not of the manifest
    targets = expander.finish()
    idle = idle_caps(manifest.accounts, targets) if expander.is_complete else ()
    return Plan(
        name=manifest.name,
        targets=targets,
        accounts=manifest.accounts,
        manifest=manifest.source,
        digest=manifest.digest,
        params=manifest.params,
        fail_on=manifest.fail_on,
        reports=manifest.reports,
        warnings=(*manifest.warnings, *expander.warnings, *warnings_of(expander), *idle),
    )


def _walked(manifest: Manifest, answers: Answers, today: datetime.date) -> Expander:
    """A walk over all entries: the last one of `questions`, where another would come to the same."""
    last = manifest.walked.pop() if manifest.walked else None
    if isinstance(last, Expander) and last.answers == answers and not last.contents.asked_the_day:
        return last
    expander = Expander(manifest, answers, today)
    expander.run()
    return expander


def warnings_of(expander: Expander) -> list[str]:
    """What the providers have to say about the targets; each sentence once."""
    declared = expander.manifest.declared
    samples = expander.targets.samples.values()
    return list(dict.fromkeys(text for target in samples for text in declared[target.account].warn(target)))


def _check(manifest: Manifest) -> None:
    """Raises when anything is wrong, and then looks at the targets too: all problems are told at once."""
    files, raw = manifest.files, manifest.raw
    if "version" not in files.present[0]:
        files.problems.append(_missing(files, "version", "begin with `version: 1`"))
    if not any("targets" in keys for keys in files.present):
        files.problems.append(_missing(files, "targets", "list the builds that you want"))
    default = raw.get("defaults", {}).get("account")
    if isinstance(default, str) and default not in manifest.accounts and default not in manifest.broken_accounts:
        keys = ("defaults", "account")
        files.say(f"unknown account `{default}`", near(default, manifest.accounts), raw["defaults"], "account", keys)
    if files.problems:
        expander = Expander(manifest, Answers(offline=True), datetime.date.min)
        expander.run()
        expander.finish()
        raise ManifestError(files.problems)


def _missing(files: Files, key: str, remedy: str) -> Problem:
    position = pack(0, 1, 1)
    return Problem(files.marks.where(position), "", f"missing key `{key}`", remedy, position)


def _stem(source: str) -> str:
    return "stdin" if source == STDIN else posixpath.basename(source).rpartition(".")[0] or posixpath.basename(source)


def _reports(said: Mapping[str, str], files: Files, formats: Collection[str] | None) -> dict[str, str]:
    for name in said:
        if formats is not None and name not in formats:
            text = f"unknown report format `{name}`"
            files.say(text, near(name, formats), said, name, ("reports", name), of_key=True)
    return {key: beside(files.marks.source_of(said, key), path) for key, path in said.items()}


def _listings(files: Files, judge: Judge) -> list[Listing]:
    listings = [Listing(one["targets"]) for one in files.maps if "targets" in one]
    for listing in listings:
        for index, item in enumerate(listing.items):
            if isinstance(item, dict) and "from" in item and (id(listing.items), index) not in files.broken:
                files.read_list(item, ("targets", index), judge)
    return listings


def _bases(
    raw: Mapping[str, Value], accounts: Accounts, declarations: Mapping[str, Declaration], compiler: Compiler
) -> dict[str, Layer]:
    """What the targets of each account say by default."""
    every = compiler.layer(raw.get("defaults", {}), ("defaults",))
    bases = {}
    for name, declaration in accounts.declared.items():
        said = raw.get("providers", {}).get(name, {}).get("defaults", {})
        keys = ("providers", name, "defaults")
        for key in lacking(said, declaration):
            remedy = f"remove it; {declaration.title} knows {', '.join(declaration.keys)}"
            compiler.files.say(f"unknown key `{key}` for {declaration.title}", remedy, said, key, (*keys, key))
        foreign = frozenset(lacking(raw.get("defaults", {}), declaration))
        bases[name] = compiler.layer(said, keys).over(every.without(foreign))
    return bases


def _named_types(
    declarations: Mapping[str, Declaration], maps: Sequence[Mapping[str, Value]]
) -> dict[str, Declaration]:
    """The declarations that the files ask for by name; without any, that of the default: no other is loaded."""
    found: dict[str, Declaration] = {}
    for one in maps:
        providers = one.get("providers")
        for name, said in (providers if isinstance(providers, dict) else {}).items():
            type_ = said.get("type", name) if isinstance(said, dict) else name
            if isinstance(type_, str) and (declaration := declarations.get(type_)) is not None:
                found[type_] = declaration
    if not found:
        first = default_of(declarations)
        found[first.type] = first
    return found


def _judge(files: Files, judge: Judge) -> set[str]:
    """Judges every file, and takes what is wrong out of the way, so that the rest can be looked at.

    Returns:
        The accounts that are wrong.
    """
    broken: set[str] = set()
    for one in files.maps:
        for keys, problem in judge.judge(one):
            files.add(problem)
            _take_out(one, keys, files, broken)
    return broken


def _take_out(one: dict[str, Value], keys: tuple[str | int, ...], files: Files, broken: set[str]) -> None:
    """Takes out the smallest thing that is wrong and whose absence means nothing."""
    section: Value = one.get(str(keys[0])) if keys else None
    match keys:
        case ("targets", int(index), *inner):
            files.broken.add((id(section), index))
            if inner:
                _drop(section[index], inner[0], files)
        case ("params", str(name), *_) if isinstance(section, dict) and name in section:
            section[name] = ""
        case ("providers", str(name), str(key), *_) if key != "type" and name not in broken:
            _drop(section[name], key, files)
        case ("providers", str(name), *_):
            broken.add(name)
            _drop(section, name, files)
        case (str(_), str(name), *_) if isinstance(section, dict):
            _drop(section, name, files)
        case (str(key), *_):
            _drop(one, key, files)


def _drop(container: Value, key: str | int, files: Files) -> None:
    if isinstance(container, dict) and isinstance(key, str) and key in container:
        files.drop(container, key)
