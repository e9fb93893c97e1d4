"""The accounts of a manifest: the limits of their providers below what was written, concurrency limits, quiet hours."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.core.calls import url_problem
from orchestrator.core.concurrency import (
    LONGEST,
    Cap,
    Concurrency,
    QueueRule,
    Quiet,
    make_quiet,
    parse_quiet,
    part,
    quiet_until,
)
from orchestrator.core.errors import near
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Cost, Limit, Target
from orchestrator.core.selection import raised
from orchestrator.core.times import parse_duration, parse_limit
from orchestrator.manifest.diagnostics import Diagnostics, Place, Value
from orchestrator.manifest.files import beside
from orchestrator.manifest.schema import LIMITS
from orchestrator.manifest.validate import SECRET_PROBLEM
from orchestrator.providers.port import Declaration, within

REFERENCE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|command:.+)", re.DOTALL)
EACH = "*"  # an owner that has no number of its own
SHORTEST = 5.0  # seconds between two reads of a queue


class Accounts(NamedTuple):
    """The accounts, what their providers declare, and what a person should know of them."""

    accounts: Mapping[str, Account]
    declared: Mapping[str, Declaration]
    warnings: Sequence[str]


def default_of(declarations: Mapping[str, Declaration]) -> Declaration:
    """The provider of a manifest that has no `providers`: Travis, else the first that is known."""
    return declarations.get("travis") or next(iter(declarations.values()))


def accounts_of(
    providers: Mapping[str, Value] | None,
    declarations: Mapping[str, Declaration],
    diagnostics: Diagnostics,
    quiet: tuple[Quiet, ...] = (),
) -> Accounts:
    """The accounts under `providers`, with the manifest's quiet hours where they have none of their own."""
    accounts: dict[str, Account] = {}
    declared: dict[str, Declaration] = {}
    warnings: list[str] = []
    providers = {default_of(declarations).type: {}} if providers is None else providers
    for name, written in providers.items():
        place, type_ = Place(providers, name, ("providers", name)), written.get("type", name)
        declaration = declarations.get(type_)
        if declaration is None:
            text, remedy = f"unknown provider type `{type_[:100]}`", near(type_, declarations)
            remedy = remedy if "type" in written else f"write `type:`; {remedy}"
            diagnostics.report(text, remedy, place.within("type"))
            continue
        accounts[name] = account = _Reader(name, place, declaration, diagnostics, quiet).account()
        declared[name] = declaration.for_account(declaration, account)
        warnings += raised(accounts[name], declaration.limits)
        warnings += [f"account {name}: {text}" for text in declaration.warn_account(accounts[name])]
    return Accounts(accounts, declared, warnings)


class _Reader(NamedTuple):
    """Reads one account, of which the schema allows each value; what is wrong goes to the diagnostics."""

    name: str
    whole: Place
    declaration: Declaration
    diagnostics: Diagnostics
    quiet: tuple[Quiet, ...]

    @property
    def written(self) -> Mapping[str, Value]:
        """The account as it stands there."""
        found: Mapping[str, Value] = self.whole.value
        return found

    def place(self, *keys: str) -> Place:
        """Where a value of the account stands."""
        place = self.whole
        for key in keys:
            place = place.at(key)
        return place

    def report(self, text: str, remedy: str, *keys: str) -> None:
        """Adds a problem with the value to which the keys lead from the account."""
        self.diagnostics.report(text, remedy, self.place(*keys))

    def account(self) -> Account:
        written, limits, settings = self.written, self.limits, self.declaration.settings
        for key in written:
            if key not in _KEYS and key not in settings:
                text = f"unknown key `{key}` for an account of type {self.declaration.type}"
                self.report(text, near(key, [*_KEYS, *settings]), key)
        account = Account(
            name=self.name,
            type=self.declaration.type,
            url=self._url(),
            token=reference(self.place("token"), self.diagnostics) if "token" in written else None,
            connections=limits.get("connections", self.declaration.connections),
            in_flight=limits.get("in_flight"),
            insecure=written.get("insecure", False),
            settings=self._settings(),
            concurrency=Concurrency(tuple(self._caps()), self._queue(), self._quiet_hours()),
            cost_per_minute=Cost(**written["cost_per_minute"]) if "cost_per_minute" in written else None,
        )
        for text, remedy, keys in self.declaration.account_problems(account):
            self.report(text, remedy, *keys)
        said = self.declaration.for_account(self.declaration, account)
        at_once = limits.get("triggers_at_once", said.triggers_at_once)
        return replace(account, limits=self._rates(said), triggers_at_once=at_once)

    def _settings(self) -> Mapping[str, Value]:
        """What the provider declares; references to files are taken from where they are written."""
        found = {key: value for key, value in self.written.items() if key in self.declaration.settings}
        for keys in (*self.declaration.secret_settings, *self.declaration.key_settings):
            if within(found, keys) is not None:
                found = _with(found, keys, reference(self.place(*keys), self.diagnostics))
        return found

    @property
    def limits(self) -> Mapping[str, Value]:
        found: Mapping[str, Value] = self.written.get("limits", {})
        return found

    def _url(self) -> str:
        if "url" not in self.written:
            if not self.declaration.url:
                self.diagnostics.report("no `url`: which server?", "write `url: https://HOST[/PATH]`", self.whole)
            return self.declaration.url
        problem = url_problem(self.written["url"], self.written.get("insecure", False))
        if problem is not None:
            self.report(*problem, "url")
        return str(self.written["url"]).rstrip("/").removesuffix(self.declaration.url_end)

    def _rates(self, declared: Declaration) -> tuple[Limit, ...]:
        known = {limit.kind for limit in declared.limits}
        for name in self.limits:
            if name not in known and name not in LIMITS:
                text = f"unknown limit `{name}` for {self.declaration.type}"
                self.report(text, near(name, [*known, *LIMITS]), "limits", name)
        rules: list[Limit] = []
        for limit in declared.limits:
            if limit.kind not in self.limits:
                rules.append(limit)
            elif limit.name == limit.kind:  # what is written replaces all of its kind
                rules += self._written(limit)
        return tuple(map(self._shared, rules))

    def _written(self, limit: Limit) -> Iterator[Limit]:
        """The rules that are written instead of the provider's."""
        written = self.limits[limit.kind]
        for number, text in enumerate(written if isinstance(written, list) else [written], 1):
            name = limit.kind if number == 1 else f"{limit.kind}.{number}"
            try:
                calls, per = parse_limit(text)
                yield replace(limit, name=name, calls=calls, per=per, written=True)
            except ValueError as error:
                self.report(str(error), "", "limits", limit.kind)

    def _shared(self, limit: Limit) -> Limit:
        """This machine's share of the limit."""
        if "share" in self.limits:
            share = int(self.limits["share"].rstrip("%"))
            limit = replace(limit, calls=part(limit.calls, share), share=share)
        return limit

    def _caps(self) -> Iterator[Cap]:
        owners = self.limits.get("in_flight_per_owner", {})
        for name, most in owners.items() if isinstance(owners, dict) else ((EACH, owners),):
            folded = name.lower() if self.declaration.fold_case else name
            yield Cap("owner" if name == EACH else f"owner:{folded}", most)
        for name, most in self.limits.get("in_flight_per_label", {}).items():
            yield Cap(f"label:{name}", most)

    def _queue(self) -> QueueRule | None:
        if "queue" not in self.limits:
            return None
        queue = self.limits["queue"]
        written: Mapping[str, Value] = queue if isinstance(queue, dict) else {"below": queue}
        below = written["below"]
        resume, reserve = written.get("resume", max(1, below * 3 // 4)), written.get("reserve", 0)
        if resume > below:
            text = f"triggers cannot go on at {resume} when they stop at {below}"
            self.report(text, f"write {below} or less", "limits", "queue", "resume")
        if reserve >= below:
            text = f"a reserve of {reserve} leaves nothing of {below} for this run"
            self.report(text, "write a smaller one", "limits", "queue", "reserve")
        seconds = {name: self._seconds(written, name) for name in ("dead_after", "every") if name in written}
        if seconds.get("every", SHORTEST) < SHORTEST:
            text = f"reading the queue every {written['every']} would cost too many calls"
            self.report(text, f"write {SHORTEST:g}s or more", "limits", "queue", "every")
        return QueueRule(below, resume, reserve, **seconds)

    def _seconds(self, written: Mapping[str, Value], name: str) -> float:
        try:
            return parse_duration(written[name])
        except ValueError as error:
            self.report(str(error), "", "limits", "queue", name)
            return SHORTEST

    def _quiet_hours(self) -> tuple[Quiet, ...]:
        if "quiet_hours" not in self.limits:
            return self.quiet
        return quiet_of(self.place("limits", "quiet_hours"), self.diagnostics)


def _with(value: Mapping[str, Value], keys: Sequence[str], new: Value) -> dict[str, Value]:
    first, *more = keys
    return {**value, first: _with(value[first], more, new) if more else new}


_KEYS = ("type", "url", "token", "limits", "defaults", "insecure", "reruns", "cost_per_minute")


def reference(place: Place, diagnostics: Diagnostics) -> str | None:
    """A reference to a secret as one text; paths are taken from the file that it stands in."""
    text = _as_text(place.value)
    if text is None or REFERENCE.fullmatch(text) is None:
        diagnostics.report(*SECRET_PROBLEM, place)
        return None
    how, _, what = text.partition(":")
    if how != "file" or what.startswith("~") or posixpath.isabs(what):
        return text
    return f"file:{beside(diagnostics.positions.source_of(place.container, place.key), what)}"


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((how, what),) = value.items()
    if isinstance(what, list):
        import shlex  # only where a command is written as a list

        what = shlex.join(what)
    return f"{how}:{what}"


def quiet_of(place: Place, diagnostics: Diagnostics) -> tuple[Quiet, ...]:
    """The quiet hours that stand there: a text, a map, or a list of them."""
    spans = place.value
    places = [place.at(index) for index in range(len(spans))] if isinstance(spans, list) else [place]
    found = tuple(quiet for one in places if (quiet := _quiet(one, diagnostics)) is not None)
    if quiet_until(found, 0.0)[0] > LONGEST:
        diagnostics.report("it is always quiet: nothing could ever be triggered", "leave a gap", place)
    return found


def _quiet(place: Place, diagnostics: Diagnostics) -> Quiet | None:
    span = place.value
    try:
        if isinstance(span, dict):
            days, zone = span.get("days", "mon-sun"), span.get("zone", "UTC")
            return make_quiet(days, span["from"], span["to"], zone)
        return parse_quiet(span)
    except ValueError as error:
        diagnostics.report(str(error), "", place)
        return None


def idle_caps(accounts: Mapping[str, Account], targets: Iterable[Target]) -> Iterator[str]:
    """A sentence for each cap on an owner or a label that no target of its account has: probably a typo."""
    owners: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    capped = {name for name, account in accounts.items() if account.concurrency.caps}
    for target in targets if capped else ():
        if target.account in capped:
            owners.setdefault(target.account, set()).add(target.owner.lower())
            labels.setdefault(target.account, set()).update(target.labels)
    for account in owners:  # one without targets is not in use
        for kind, name in ((cap.kind, cap.name) for cap in accounts[account].concurrency.caps):
            known = owners[account] if kind == "owner" else labels[account]
            if name and (name.lower() if kind == "owner" else name) not in known:
                text = f"account {account}: in_flight_per_{kind} of {name} caps nothing: no target has this {kind}"
                yield f"{text}; {near(name, known)}" if known else text
