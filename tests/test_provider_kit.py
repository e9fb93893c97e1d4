"""What every provider builds on: errors by status, listings with an end, the search for a marker."""

import pytest

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, RateLimited, Rejected, Unreachable
from orchestrator.core.model import Build, BuildState, Target, Trigger
from orchestrator.providers.kit import listings
from orchestrator.providers.kit.answers import instant, listed, message_in, not_accepted, read, read_failed
from orchestrator.providers.kit.listings import Listing, Page, Search, entries_of, markers_in, walk

pytestmark = pytest.mark.anyio

MARKER, OTHER = "[01JX8.abcdefgh]", "[01JX8.hgfedcba]"


@pytest.mark.parametrize("error", [InDoubt("reset"), Unreachable("refused")])
async def test_a_call_that_only_reads_is_never_in_doubt(error):
    async def send(call):
        raise error

    with pytest.raises(LookFailed, match=r"/runs: re(set|fused)") as caught:
        await read(send, Call("GET", "/runs"))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(401), AccessRefused, "does not accept the token"),
        (Answer(403, {"message": "suspended"}), Rejected, "suspended"),
        (Answer(429, None, {"retry-after": "7"}), RateLimited, "throttles"),
        (Answer(403, {"message": "slow"}, {"retry-after": "7"}), RateLimited, "asks for patience"),
        (Answer(404, {"error": "no such repository"}), Rejected, "no such repository"),
        (Answer(422, "<html>"), Rejected, "HTTP 422"),
        (Answer(408), InDoubt, "HTTP 408"),
        (Answer(425), InDoubt, "HTTP 425"),
        (Answer(499), InDoubt, "HTTP 499"),
        (Answer(500, {"message": "oops"}), InDoubt, "HTTP 500"),
        (Answer(200, "<!DOCTYPE html>"), InDoubt, "web page"),
        (Answer(302), InDoubt, "HTTP 302"),
    ],
)
def test_what_is_no_receipt_is_sorted_by_whether_a_build_may_exist(answer, kind, words):
    error = not_accepted(answer, "Toy CI")
    assert type(error) is kind
    assert words in str(error)


def test_the_patience_that_a_throttle_asks_for_is_kept():
    assert not_accepted(Answer(429, None, {"retry-after": "7"}), "Toy CI").retry_after == 7.0
    assert read_failed(Answer(429), "/runs", "Toy CI").retry_after is None


@pytest.mark.parametrize("found", [None, {}, "x", [1], [{}, None]])
def test_only_a_list_of_objects_is_a_listing(found):
    with pytest.raises(LookFailed):
        listed(Answer(200, {}), found, "/runs", "Toy CI")
    with pytest.raises(LookFailed):
        listed(Answer(202, {}), [], "/runs", "Toy CI")
    assert listed(Answer(200, {}), [{"id": 1}], "/runs", "Toy CI") == [{"id": 1}]


@pytest.mark.parametrize("body", [None, 7, {}, {"message": ["x"]}, [{"message": "x"}]])
def test_a_body_without_words_has_no_message(body):
    assert message_in(body) == ""


class Numbers:
    """A listing of pages; `following` says which comes after which."""

    def __init__(self, following, at_most=50, a_page=1):
        self.asked = []
        self.listing = Listing(
            1,
            lambda page: Call("GET", f"/page/{page}"),
            lambda page, answer: Page([{}] * a_page, following(page)),
            at_most,
        )

    async def send(self, call):
        self.asked.append(call.path)
        return Answer(200)


async def test_a_listing_is_read_to_its_end():
    numbers = Numbers({1: 2, 2: 3}.get)
    assert len(await entries_of(numbers.send, numbers.listing)) == 3
    assert numbers.asked == ["/page/1", "/page/2", "/page/3"]


async def test_a_walk_ends_where_enough_was_seen():
    numbers = Numbers({1: 2, 2: 3}.get)
    await walk(numbers.send, numbers.listing, lambda entries: True)
    assert numbers.asked == ["/page/1"]


@pytest.mark.parametrize("following", [lambda page: page + 1, lambda page: 1, lambda page: 3 - page])
async def test_a_listing_without_an_end_is_not_complete(following):
    numbers = Numbers(following)
    with pytest.raises(LookFailed, match="/page/1: the listing has no end"):
        await entries_of(numbers.send, numbers.listing)
    assert len(numbers.asked) <= 50


async def test_all_pages_together_are_bounded_in_bytes_and_only_what_is_picked_is_kept(monkeypatch):
    monkeypatch.setattr(listings, "MOST_BYTES", 20 * 2**20)
    numbers, kept = Numbers(lambda page: page + 1), []

    async def send(call):
        numbers.asked.append(call.path)
        return Answer(200, size=7 * 2**20)

    with pytest.raises(LookFailed, match=r"/page/1: the listing has no end \(3 entries and 21 MiB were read\)"):
        await entries_of(send, numbers.listing, kept.append)
    assert (len(numbers.asked), len(kept)) == (3, 3)


async def test_all_pages_together_are_bounded(monkeypatch):
    monkeypatch.setattr(listings, "MOST_ENTRIES", 100)
    numbers = Numbers(lambda page: page + 1, a_page=40)
    with pytest.raises(LookFailed):
        await entries_of(numbers.send, numbers.listing)
    assert len(numbers.asked) == 3


@pytest.mark.parametrize(
    "odd", ["9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00Z", "2026-01-05T01:02:10", "2026-13-05T01:02:10Z", 7, ""]
)
def test_a_time_beyond_reason_is_none(odd):
    assert instant(odd) is None


def search(marker=MARKER, known=()):
    return Search(Trigger(Target("toy:acme/a", "toy", "acme/a"), 1, marker, "nightly"), known, since=100.0)


def test_markers_are_seen_in_any_text():
    assert list(markers_in(f"nightly {MARKER}, again {OTHER} [x] [a.b]")) == [MARKER, OTHER]


def test_a_search_without_a_marker_is_in_doubt():
    with pytest.raises(InDoubt, match="carried no marker"):
        search(marker=None)


def test_rows_are_ours_or_not_or_perhaps():
    found = search(known=["3"])
    found.add("1", f"nightly {MARKER}", 120.0, "row")
    found.add("2", f"nightly {OTHER}", 120.0, "row")
    found.add("3", None, 120.0, "row")  # another trigger's, as we know
    found.add("4", None, 99.0, "row")  # before the call
    assert (found.found(), found.candidates) == ({"1": "row"}, {})


@pytest.mark.parametrize("made", [100.0, None])
def test_a_row_that_shows_no_text_may_be_ours(made):
    found = search()
    found.add("10", None, made, "row")
    found.add("9", None, made, "row")
    with pytest.raises(InDoubt, match=r"2 request\(s\) of acme/a .*: 9, 10"):
        found.found()
    found.add("11", MARKER, made, "row")
    assert found.found() == {"11": "row"}


def test_rows_that_may_be_ours_are_shown_as_builds_the_newest_first_and_not_endlessly_many():
    def show(row):
        return Build(row, BuildState.RUNNING, "going", url=f"https://toy.invalid/{row}")

    found = Search(Trigger(Target("toy:acme/a", "toy", "acme/a"), 1, MARKER, "n"), (), since=100.0, show=show)
    for number in range(1, 151):
        found.add(str(number), None, None, str(number))
    with pytest.raises(InDoubt) as caught:
        found.found()
    assert [build.id for build in caught.value.builds] == [str(number) for number in range(150, 50, -1)]
    assert caught.value.cause.endswith("this one: 1, 2, 3, 4, 5; the newest: https://toy.invalid/150")


def test_a_marker_on_a_request_of_another_trigger_is_in_doubt():
    with pytest.raises(InDoubt, match="adopted for another target"):
        search(known=["1"]).add("1", MARKER, 120.0, "row")


@pytest.mark.parametrize("id_", [None, ""])
def test_a_row_without_an_id_proves_nothing(id_):
    with pytest.raises(InDoubt, match="proves nothing"):
        search().add(id_, "nightly", 120.0, "row")
