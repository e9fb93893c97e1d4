"""The way in: from a file to a manifest, from a manifest to what must be asked, and from the answers to a plan.

And the ways round a manifest: `run --repo acme/widget@main`, `run --from FILE`.
"""

from __future__ import annotations

import datetime
import hashlib
import posixpath
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from orchestrator.core.errors import near
from orchestrator.core.frozen import Struct, field, replace
from orchestrator.core.model import DEFAULT_FAIL_ON, Account, Causes, Expect, Json, Notify, Outcome, Plan, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.core.waves import Rollout
from orchestrator.manifest.accounts import accounts_of, default_of, idle_caps, quiet_of
from orchestrator.manifest.diagnostics import Diagnostics, ManifestError, Place, Value, pack
from orchestrator.manifest.expand import Expander
from orchestrator.manifest.files import STDIN, Files, beside, merged
from orchestrator.manifest.graphs import Graph
from orchestrator.manifest.layers import MERGED_BY_NAME, Compiler, Layer, bases_of
from orchestrator.manifest.lists import Listing
from orchestrator.manifest.lookups import Answers, Questions
from orchestrator.manifest.notify import notify_of
from orchestrator.manifest.params import values_of
from orchestrator.manifest.rehearsal import causes_for, causes_of, rehearsal_of
from orchestrator.manifest.rollout import check_alone, rollout_of
from orchestrator.manifest.validate import Validator
from orchestrator.manifest.yaml_reader import read_yaml
from orchestrator.providers.port import Declaration


class Manifest(Struct, frozen=True, eq=False):
    """What the files say, merged, with accounts and parameters settled; checked as far as no provider is needed.

    Args:
        params: every parameter with its value.
        warnings: sentences for a person.
        raw: the merged top level, as plain values.
        listings: the lists of targets, the manifest's own first.
        walked: the last walk of `questions`, for `expand` to go on from; one at most.
    """

    name: str
    accounts: Mapping[str, Account]
    declared: Mapping[str, Declaration]
    listings: Sequence[Listing]
    files: Files
    compiler: Compiler
    source: str | None = None
    digest: str = ""
    params: Mapping[str, str] = {}
    fail_on: frozenset[Outcome] = DEFAULT_FAIL_ON
    reports: Mapping[str, str] = {}
    expect: Expect = Expect()
    warnings: Sequence[str] = ()
    rollout: Rollout | None = None
    graph: Graph | None = None
    causes: Causes | None = None
    rehearsal: Rehearsal = NOTHING_SAID
    notify: Sequence[Notify] = ()
    raw: Mapping[str, Value] = {}
    bases: Mapping[str, Layer] = {}
    broken_accounts: frozenset[str] = frozenset()
    walked: list[Expander] = field(default_factory=list)

    @property
    def default_account(self) -> str | None:
        """The account of targets that name none: the default one, or the only one."""
        written = self.raw.get("defaults", {}).get("account")
        if isinstance(written, str):
            return written
        return next(iter(self.accounts)) if len(self.accounts) == 1 and not self.broken_accounts else None


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
        formats: the report formats that are known; None: any.

    Raises:
        ManifestError: everything that is wrong.
    """
    files = Files(load)
    files.read_all(source, text)
    digest = hashlib.sha256(text).hexdigest()
    return _settled(files, declarations, digest, params, fallback, run_id, strict_params=strict_params, formats=formats)


def _settled(
    files: Files,
    declarations: Mapping[str, Declaration],
    digest: str = "",
    params: Mapping[str, str] | None = None,
    fallback: Mapping[str, str] | None = None,
    run_id: str = "",
    *,
    strict_params: bool = True,
    formats: Collection[str] | None = None,
) -> Manifest:
    """The manifest of files that were read; as `read`."""
    diagnostics, source = files.diagnostics, files.names[0]
    validator = Validator(_named_types(declarations, files.maps), diagnostics)
    broken_accounts = {name for one in files.maps for name in validator.validate(one)}
    check_alone(files.maps, diagnostics)
    raw = merged(files.maps, MERGED_BY_NAME, diagnostics.positions)
    quiet = quiet_of(Place(raw, "quiet_hours", ("quiet_hours",)), diagnostics) if "quiet_hours" in raw else ()
    accounts = accounts_of(raw.get("providers"), declarations, diagnostics, quiet)
    name = raw.get("name", _stem(source))
    values = values_of(raw.get("params", {}), params or {}, fallback or {}, diagnostics, strict=strict_params)
    constants = {f"params.{key}": value for key, value in values.items()} | {"run.id": run_id, "run.name": name}
    references = {key for given in accounts.declared.values() for key in given.keys if given.keys[key].reference}
    compiler = Compiler(diagnostics, constants, frozenset(references))
    manifest = Manifest(
        name,
        source=source,
        digest=digest,
        params=values,
        accounts=accounts.accounts,
        declared=accounts.declared,
        fail_on=frozenset(Outcome(word) for word in raw["fail_on"]) if "fail_on" in raw else DEFAULT_FAIL_ON,
        reports=_reports(raw.get("reports", {}), diagnostics, formats),
        expect=Expect(**raw.get("expect", {})),
        rollout=rollout_of(raw, diagnostics),
        graph=files.read_graph(raw),
        causes=causes_of(raw, files),
        rehearsal=rehearsal_of(raw, files),
        notify=notify_of(raw, diagnostics),
        raw=raw,
        listings=_listings(files, validator),
        warnings=(*accounts.warnings, *diagnostics.warnings),
        files=files,
        compiler=compiler,
        bases=bases_of(raw, accounts.declared, compiler),
        broken_accounts=frozenset(broken_accounts | (raw.get("providers", {}).keys() - accounts.accounts.keys())),
    )
    _check(manifest)
    return manifest


def questions(manifest: Manifest, answers: Answers | None = None) -> Questions:
    """What must be asked before `expand`, given what is known; ask again until it is empty. Raises ManifestError."""
    expander = Expander(manifest, answers or Answers(), datetime.date.min)
    expander.run()
    if expander.diagnostics.problems:
        raise ManifestError(expander.diagnostics.problems)
    manifest.walked[:] = [expander]
    return expander.lookups.questions(expander.targets.made)


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
    is_complete = expander.lookups.are_complete
    if not given.offline and not is_complete:
        raise ValueError("`questions` were not answered")  # a mistake of the caller, not of the manifest
    targets = expander.finish()
    idle = idle_caps(manifest.accounts, targets) if is_complete else ()
    return Plan(
        name=manifest.name,
        targets=targets,
        accounts=manifest.accounts,
        manifest=manifest.source,
        digest=manifest.digest,
        params=manifest.params,
        fail_on=manifest.fail_on,
        reports=manifest.reports,
        causes=causes_for(manifest.raw, manifest.causes, targets),
        rehearsal=manifest.rehearsal,
        notify=tuple(manifest.notify),
        rollout=manifest.rollout,
        warnings=(
            *manifest.warnings,
            *expander.warnings,
            *_warnings_of(expander),
            *_no_reruns(manifest, targets),
            *idle,
        ),
    )


def _no_reruns(manifest: Manifest, targets: Sequence[Target]) -> list[str]:
    """A sentence for each account whose builds are to be started again, and cannot be."""
    wanting = {target.account for target in targets if target.reruns.times}
    declared = ((name, manifest.declared[name]) for name in sorted(wanting))
    return [
        f"account {name}: {one.title} cannot start a build again, so `reruns` does nothing there"
        for name, one in declared
        if not one.restarts
    ]


def _walked(manifest: Manifest, answers: Answers, today: datetime.date) -> Expander:
    """A walk over all entries: the last one of `questions`, where another would come to the same."""
    last = manifest.walked.pop() if manifest.walked else None
    if last is not None and last.answers == answers and not last.prototypes.asked_the_day:
        return last
    expander = Expander(manifest, answers, today)
    expander.run()
    return expander


def _warnings_of(expander: Expander) -> list[str]:
    """The providers' warnings about the targets, each sentence once for an account; texts that hold a config are read.

    Where there are several accounts, each is named: what one service may refuse, another takes.
    """
    declared, many = expander.manifest.declared, len(expander.manifest.accounts) > 1
    found: dict[str, None] = {}
    for target in expander.targets.samples.values():
        legible = _read_configs(target.request, found)
        shown = target if legible is target.request else replace(target, request=legible)
        lead = f"account {target.account}: " if many else ""
        found |= dict.fromkeys(f"{lead}{warning}" for warning in declared[target.account].warn(shown))
    return list(found)


def _read_configs(value: Json, warnings: dict[str, None]) -> Any:
    """The same with the value of every text `config`, as far as it is YAML."""
    if isinstance(value, list):
        return [_read_configs(one, warnings) for one in value]
    if not isinstance(value, Mapping) or not {"config", "configs"} & value.keys():
        return value
    read = dict(value)
    if isinstance(config := value.get("config"), str):
        try:
            read["config"] = read_yaml("config", config.encode(), Diagnostics())
        except ManifestError as error:
            warnings[f"the text of `config` is no YAML that can be read here: {error.problems[0]}"] = None
    if "configs" in value:
        read["configs"] = _read_configs(value["configs"], warnings)
    return read


def _check(manifest: Manifest) -> None:
    """Raises when anything is wrong; the targets are checked first, so that all problems are reported at once."""
    diagnostics, present, raw = manifest.files.diagnostics, manifest.files.present, manifest.raw
    if "version" not in present[0]:
        diagnostics.report_file("missing key `version`", "begin with `version: 1`")
    if not any("targets" in keys for keys in present):
        diagnostics.report_file("missing key `targets`", "list the builds that you want")
    default = raw.get("defaults", {}).get("account")
    if isinstance(default, str) and default not in manifest.accounts and default not in manifest.broken_accounts:
        text, remedy = f"unknown account `{default}`", near(default, manifest.accounts)
        diagnostics.report(text, remedy, Place(raw["defaults"], "account", ("defaults", "account")))
    if diagnostics.problems:
        expander = Expander(manifest, Answers(offline=True), datetime.date.min)
        expander.run()
        expander.finish()
        raise ManifestError(diagnostics.problems)


def _stem(source: str) -> str:
    return "stdin" if source == STDIN else posixpath.basename(source).rpartition(".")[0] or posixpath.basename(source)


def _reports(written: Mapping[str, str], diagnostics: Diagnostics, formats: Collection[str] | None) -> dict[str, str]:
    for name in written:
        if formats is not None and name not in formats:
            text = f"unknown report format `{name}`"
            place = Place(written, name, ("reports", name))
            diagnostics.report(text, near(name, formats), place, of_key=True)
    return {key: beside(diagnostics.positions.source_of(written, key), path) for key, path in written.items()}


def _listings(files: Files, validator: Validator) -> list[Listing]:
    listings = [Listing(one["targets"]) for one in files.maps if "targets" in one]
    for listing in listings:
        for index, item in enumerate(listing.items):
            is_broken = (id(listing.items), index) in files.diagnostics.broken
            if isinstance(item, dict) and "from" in item and not is_broken:
                files.read_list(Place(listing.items, index, ("targets", index)), validator)
    return listings


def _named_types(
    declarations: Mapping[str, Declaration], maps: Sequence[Mapping[str, Value]]
) -> dict[str, Declaration]:
    """The declarations that the files name; without any, that of the default: no other is loaded."""
    found: dict[str, Declaration] = {}
    for one in maps:
        providers = one.get("providers")
        for name, written in (providers if isinstance(providers, dict) else {}).items():
            type_ = written.get("type", name) if isinstance(written, dict) else name
            if isinstance(type_, str) and (declaration := declarations.get(type_)) is not None:
                found[type_] = declaration
    default = None if found else default_of(declarations)
    return found if default is None else {default.type: default}


# without a manifest


def from_repos(repos: Sequence[str], *, declarations: Mapping[str, Declaration]) -> Plan:
    """The plan of `--repo` flags: short forms, on one account of the default provider. Raises ManifestError."""
    files, source = Files(lambda _: b""), "--repo"
    items = list(repos)
    files.positions.keep(items, array("Q", [pack(files.positions.add_source(source), 0, 0)]) * len(items))
    return _ad_hoc(source, files, declarations, Listing(items, None))


def from_lines(source: str, text: bytes, *, declarations: Mapping[str, Declaration]) -> Plan:
    """The plan of a list of `--from`, as `from:` in a manifest reads it (`-` is stdin). Raises ManifestError."""
    return _ad_hoc(source, Files(lambda _: text), declarations)


def _ad_hoc(source: str, files: Files, declarations: Mapping[str, Declaration], listing: Listing | None = None) -> Plan:
    entry = {"from": source}
    position = pack(files.positions.add_source(""), 0, 0)
    targets = [entry]
    files.positions.keep(targets, array("Q", [position]))
    files.positions.keep(entry, array("Q", [position, position]))
    if listing is not None:
        files.lists[id(entry)] = listing
    files.take("", {"version": 1, "name": "adhoc", "targets": targets})
    return replace(expand(_settled(files, declarations), today=datetime.date.min), manifest=None)


def starter(resource: str = "orchestrator.manifest:starter.yaml") -> str:
    """A commented manifest to start from, which `check` accepts, or a file that goes with it: `package:file`."""
    from importlib import resources  # slow to import, and only `init` needs it

    package, _, name = resource.partition(":")
    return resources.files(package).joinpath(name).read_text("utf-8")
