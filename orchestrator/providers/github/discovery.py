"""Which repositories the keys of `discover` mean: those of a team, with topics, or that a search finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from orchestrator.core.calls import Answer
from orchestrator.core.errors import LookFailed, Rejected
from orchestrator.core.frozen import replace
from orchestrator.providers.github import wire
from orchestrator.providers.github.declaration import READS, SEARCHES
from orchestrator.providers.kit.answers import mapping, number, rejected
from orchestrator.providers.kit.listings import Listing, Page, Query
from orchestrator.providers.port import RepoFacts

MOST_PAGES = 2000  # of 100 repositories or branches
MOST_FOUND = 1000  # repositories that a search shows


def reached(owner: str) -> Listing[Query]:
    """What the App's installation for an owner reaches."""
    return wire.listing(wire.get("/installation/repositories", owner), "repositories", MOST_PAGES)


def listings(owner: str, keys: Mapping[str, Sequence[str]]) -> Iterator[Listing[Query]]:
    """The listings that the keys ask for; none where topics alone are written, which every listing shows."""
    for team in keys.get("team", ()):
        path = f"/orgs/{quote(owner, safe='')}/teams/{quote(team, safe='')}/repos"
        yield wire.listing(wire.get(path, owner), None, MOST_PAGES)
    for words in keys.get("search", ()):
        yield search(owner, words)


def meant(lots: Sequence[Sequence[RepoFacts]], keys: Mapping[str, Sequence[str]]) -> list[RepoFacts]:
    """What stands in all of the listings and has all topics; GitHub's search for those goes by an index that lags."""
    topics = {topic.lower() for topic in keys.get("topic", ())}
    first, *more = lots
    others = [{facts.id for facts in lot} for lot in more]
    found = [facts for facts in first if all(facts.id in ids for ids in others)]
    return [facts for facts in found if topics <= {label.lower() for label in facts.labels}]


def search(owner: str, words: str) -> Listing[Query]:
    """The repositories of an owner that a search finds; Rejected where it finds more than GitHub shows of any."""
    query = (("q", f"user:{owner} {words}"),)
    call = replace(wire.get("/search/repositories", owner, query), limits=(*READS, SEARCHES))
    plain = wire.listing(call, "items", MOST_FOUND // 100)

    def page_of(place: Query, answer: Answer) -> Page[Query]:
        body = mapping(answer.body)
        if answer.status == 422:
            raise rejected("bad_search", "GitHub does not take this search", wire.message(answer))
        if answer.status == 200 and (count := number(body.get("total_count")) or 0) > MOST_FOUND:
            told = f"GitHub finds {count:,} repositories, and shows only {MOST_FOUND:,} of a search; narrow it"
            raise Rejected("too_many", told)
        if answer.status == 200 and body.get("incomplete_results") is not False:
            raise LookFailed(f"{call.path}: GitHub did not search to the end")
        return plain.page_of(place, answer)

    return plain._replace(page_of=page_of)
