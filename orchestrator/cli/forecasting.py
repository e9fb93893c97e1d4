"""The forecast as `plan` prints it, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.core.model import ACCOUNT
from orchestrator.forecast import AccountForecast, Forecast, Use
from orchestrator.forecast.advice import instant, length
from orchestrator.report.words import plain

SCARCE = 0.5  # a repository of whose limit more than this is left needs no mention


def forecast_lines(cast: Forecast) -> Iterator[str]:
    """How the run will go, which rule binds when, what would help and what is left for people."""
    yield f"forecast: {plain(cast.text)}"
    if not cast.accounts:
        return
    yield f"  last build: ends after about {length(cast.last_build)}"
    several = len(cast.accounts) > 1
    for name, one in cast.accounts.items():
        whose = f" of account {name}" if several else ""
        if one.spans:
            yield f"  waits for{whose}: {plain(_phases(one))}"
        yield f"  left for people{whose}: {plain('; '.join(_left(one)))}"
    for advice in cast.advice:
        shorter = f"{length(advice.last_trigger)} instead of {length(cast.last_trigger)}"
        yield f"  would help: {plain(advice.what)}: {shorter} to the last trigger"
    yield from (f"  supposes: {plain(one)}" for one in cast.supposed)


def _phases(one: AccountForecast) -> str:
    return ", ".join(f"{instant(each.start)}-{instant(each.end)} {each.rule}{each.whom}" for each in one.spans)


def _left(one: AccountForecast) -> Iterator[str]:
    """The tightest limit of the account, and the repositories that the run takes more than half of."""
    whole = min((use for use in one.uses if use.limit.scope == ACCOUNT), key=lambda use: use.left, default=None)
    if whole is not None:
        part = f"{int(whole.left * 100)}% of {whole.limit}"
        yield f"in the busiest hour {part} ({whole.used:,} of {whole.allowed:,} are used)"
    for use in one.uses:
        if use.where is not None and use.left <= SCARCE:
            yield f"{use.where}: {_rest(use)} of {use.limit}"


def _rest(use: Use) -> str:
    left = max(0, use.allowed - use.used)
    return f"{left:,}" if left else "nothing"


def forecast_json(cast: Forecast) -> dict[str, Any]:
    """The whole run; `seconds` is `last_trigger_seconds` under its older name."""
    return {
        "seconds": round(cast.last_trigger, 3),
        "text": cast.text,
        "levels": cast.levels,
        **forecast_kept(cast),
        "supposed": list(cast.supposed),
        "advice": [
            {
                "what": advice.what,
                "last_trigger_seconds": round(advice.last_trigger, 3),
                "last_build_seconds": round(advice.last_build, 3),
            }
            for advice in cast.advice
        ],
    }


def forecast_kept(cast: Forecast) -> dict[str, Any]:
    """What a run keeps of its forecast, for the report to compare with what happened."""
    return {
        "last_trigger_seconds": round(cast.last_trigger, 3),
        "last_build_seconds": round(cast.last_build, 3),
        "triggers": sum(one.triggers for one in cast.accounts.values()),
        "looks": sum(one.looks for one in cast.accounts.values()),
    }


def account_json(one: AccountForecast | None) -> Mapping[str, Any]:
    """What the forecast says of one account."""
    if one is None:
        return {"triggers": 0, "looks": 0, "seconds": 0.0, "binding": None, "phases": [], "allowance": []}
    return {
        "triggers": one.triggers,
        "looks": one.looks,
        "seconds": round(one.last_trigger, 3),
        "last_trigger_seconds": round(one.last_trigger, 3),
        "last_build_seconds": round(one.last_build, 3),
        "binding": None if one.binding is None else f"{one.binding.rule}{one.binding.whom}",
        "phases": [
            {
                "from_seconds": round(each.start, 3),
                "to_seconds": round(each.end, 3),
                "limit": each.rule,
                "where": each.where,
                "places": each.places,
            }
            for each in one.spans
        ],
        "allowance": [
            {
                "limit": str(use.limit),
                "where": use.where,
                "used": use.used,
                "allowed": use.allowed,
                "left": round(use.left, 3),
            }
            for use in one.uses
        ],
    }
