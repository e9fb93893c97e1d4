"""Pages of a listing (reference 9.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit.reply import wrong_params

MOST = 100


class Page(Struct, frozen=True):
    """Which part of a listing is wanted."""

    limit: int
    offset: int
    skip_count: bool


def read_page(query: Mapping[str, str], default: int) -> Page:
    """From `limit`, `offset`, `skip_count`; 0 is the most, a negative limit is the default."""
    limit, offset = _integer(query, "limit", default), _integer(query, "offset", 0)
    limit = default if limit < 0 else min(limit, MOST) or MOST
    return Page(limit, max(0, offset), query.get("skip_count") == "true")


def cut(rows: Sequence[Any], page: Page) -> list[Any]:
    """The rows of the page."""
    return list(rows[page.offset : page.offset + page.limit])


def pagination(page: Page, count: int, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The `@pagination` of a page; without counting, `count` is made up so that there always is a next page."""
    if page.skip_count:
        count = page.offset + 2 * page.limit

    def link(offset: int) -> dict[str, Any]:
        pairs = {**query, "limit": page.limit, "offset": offset}
        return {"@href": f"{path}?{urlencode(pairs)}", "offset": offset, "limit": page.limit}

    end = max(0, (count - 1) // page.limit * page.limit)
    after, before = page.offset + page.limit, page.offset - page.limit
    return {
        "limit": page.limit,
        "offset": page.offset,
        "count": count,
        "is_first": page.offset == 0,
        "is_last": after >= count,
        "next": link(after) if after < count else None,
        "prev": link(max(0, before)) if page.offset > 0 else None,
        "first": link(0),
        "last": link(end),
    }


def sorted_by(
    rows: Sequence[Any], orders: str | None, keys: Mapping[str, Callable[[Any], Any]], default: str
) -> tuple[list[Any], list[str]]:
    """Rows in the order that `sort_by` asks for, and the names in it that do not exist."""
    unknown = [each for each in (orders or "").split(",") if each and each.partition(":")[0] not in keys]
    known = [each for each in (orders or "").split(",") if each and each not in unknown] or default.split(",")
    found = list(rows)
    for order in reversed(known):
        name, _, direction = order.partition(":")
        found.sort(key=keys[name], reverse=direction == "desc")
    return found, unknown


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise wrong_params(f"{name} must be an integer") from None
