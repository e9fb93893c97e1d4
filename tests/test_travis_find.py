import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, RateLimited, Unreachable
from orchestrator.core.model import Account, Interval, Target, Trigger
from orchestrator.providers.kit.answers import timestamp as stamp
from orchestrator.providers.travis.observe import may_be_of
from orchestrator.providers.travis.provider import MOST_REQUEST_PAGES, Travis

MARKER = "[01JX8.abcdefgh]"
T0 = 1767574800.0  # 2026-01-05T01:00:00Z
ASKED = Interval(T0, T0 + 30.0)
REPOSITORY = {"@type": "repository", "id": 4711, "slug": "acme/widget"}


def row(id_, message="somebody else's", at=T0 + 5, **more):
    commit = None if message is None else {"@type": "commit", "sha": "0f3c", "message": message}
    return {
        "@type": "request",
        "id": id_,
        "event_type": "api",
        "state": "finished",
        "result": "approved",
        "commit": commit,
        "repository": REPOSITORY,
        "created_at": stamp(at),
        "builds": [],
        **more,
    }


def listing(rows, offset=0, limit=100):
    """A page as Travis gives it with `skip_count`: a next one is always promised."""
    shown = rows[offset : offset + limit]
    pagination = {
        "limit": limit,
        "offset": offset,
        "is_last": False,
        "next": {"offset": offset + limit, "limit": limit},
    }
    return {"@type": "requests", "requests": shown, "@pagination": pagination}


class Server:
    """Gives a listing of rows, or whatever `answers` says by the number of the call."""

    def __init__(self, rows=(), limit=100, answers=None):
        self.rows, self.limit, self.answers = list(rows), limit, answers or {}
        self.calls = []

    async def send(self, call):
        self.calls.append(call)
        if (given := self.answers.get(len(self.calls))) is not None:
            if isinstance(given, Exception):
                raise given
            return given
        offset = int(dict(call.query).get("offset", 0))
        return Answer(200, listing(self.rows, offset, self.limit))

    async def find(self, marker=MARKER, known=(), asked=ASKED, repo="acme/widget"):
        target = Target(f"travis:{repo}@main", "travis", repo, "main")
        provider = Travis(Account("travis", "travis", "https://api.travis-ci.com"), self.send, str)
        return await provider.find(Trigger(target, 1, marker, "nightly"), asked, set(known))


@pytest.mark.anyio
async def test_the_request_is_recognised_by_the_marker_in_its_commits_message():
    server = Server([row(9), row(8, f"nightly {MARKER}"), row(7)])
    request = await server.find()
    assert (request.id, request.handle) == ("8", {"v": 1, "repo": 4711})


@pytest.mark.anyio
async def test_the_listing_is_asked_from_well_before_the_call_in_the_servers_time():
    server = Server()
    await server.find()
    [call] = server.calls
    assert (call.method, call.path, call.purpose, call.limits) == (
        "GET",
        "/repo/acme%2Fwidget/requests",
        "find",
        ("calls",),
    )
    assert dict(call.query) == {"skip_count": "true", "from": "2026-01-05T00:58:00Z", "limit": "100"}


@pytest.mark.anyio
async def test_a_complete_listing_without_it_means_certainly_not_there():
    assert await Server().find() is None
    assert await Server([row(9), row(8)]).find() is None


@pytest.mark.anyio
@pytest.mark.parametrize("result", [None, "approved", "rejected"])
@pytest.mark.parametrize("state", ["pending", "started", "finished"])
async def test_a_row_without_a_commit_is_a_candidate_whatever_its_result(state, result):
    server = Server([row(9, None, state=state, result=result), row(8)])
    with pytest.raises(InDoubt, match=r"1 request\(s\) of acme/widget without a commit.*: 9"):
        await server.find()


@pytest.mark.anyio
async def test_a_commit_without_a_message_is_a_candidate_too():
    for commit in ({"@href": "/x"}, {"message": None}, {"message": 5}, "collapsed"):
        with pytest.raises(InDoubt):
            await Server([row(9, commit=commit)]).find()


@pytest.mark.anyio
async def test_a_candidate_does_not_hide_the_one_that_was_found():
    assert (await Server([row(9, None), row(8, MARKER)]).find()).id == "8"


@pytest.mark.anyio
async def test_candidates_that_are_known_to_be_others_or_were_not_made_by_the_api_say_nothing():
    rows = [row(9, None), row(8, None, event_type="push"), row(7, MARKER, event_type="cron")]
    assert await Server(rows).find(known={"9"}) is None


@pytest.mark.anyio
async def test_a_row_of_no_known_kind_is_a_candidate():
    with pytest.raises(InDoubt):
        await Server([row(9, None, event_type=None)]).find()


@pytest.mark.anyio
async def test_a_request_that_was_adopted_for_another_target_is_neither_adopted_nor_taken_for_absent():
    with pytest.raises(InDoubt, match="request 9 carries this target's marker, but was adopted for another"):
        await Server([row(9, MARKER)]).find(known={"9"})


@pytest.mark.anyio
async def test_a_repository_that_travis_does_not_show_leaves_the_doubt_and_tells_what_a_person_can_do():
    answers = {1: Answer(404, {"@type": "error", "error_type": "not_found"})}
    with pytest.raises(LookFailed, match=r"no repository acme/widget.*--assume-absent.*resume"):
        await Server(answers=answers).find()


@pytest.mark.anyio
async def test_all_pages_are_read():
    rows = [row(1000 - n) for n in range(250)] + [row(5, MARKER)]
    server = Server(rows)
    assert (await server.find()).id == "5"
    assert [dict(call.query).get("offset") for call in server.calls] == [None, "100", "200"]


@pytest.mark.anyio
async def test_a_server_that_caps_pages_lower_is_read_to_its_end():
    server = Server([row(100 - n) for n in range(60)] + [row(5, MARKER)], limit=25)
    assert (await server.find()).id == "5"


@pytest.mark.anyio
async def test_a_server_that_does_not_know_from_is_read_until_before_the_call():
    old = [row(500 - n, at=T0 - 5000) for n in range(400)]
    server = Server([row(999, None, at=T0 - 500), *old])
    assert await server.find() is None
    assert len(server.calls) == 1


@pytest.mark.anyio
async def test_requests_made_after_we_gave_up_are_looked_at_too():
    assert (await Server([row(9, MARKER, at=T0 + 3000)]).find()).id == "9"


@pytest.mark.anyio
async def test_several_requests_with_one_marker_are_all_kept():
    request = await Server([row(9, MARKER), row(8, MARKER), row(7, MARKER)]).find()
    assert (request.id, request.handle["also"]) == ("7", [8, 9])


@pytest.mark.anyio
async def test_without_a_marker_the_doubt_stays_and_no_call_is_spent():
    server = Server()
    with pytest.raises(InDoubt, match="no marker"):
        await server.find(marker=None)
    assert server.calls == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, "Sorry"),
        Answer(502, "<html>"),
        Answer(404, {"error_type": "not_found"}),
        Answer(200, "<html>"),
        Answer(200, {"@type": "builds", "builds": []}),
        Answer(200, {"@type": "requests", "requests": None}),
        Answer(200, {"@type": "requests", "requests": []}),
        Answer(200, {"@type": "requests", "requests": [], "@pagination": {"limit": 0}}),
        Answer(200, {**listing([]), "requests": [None]}),
        InDoubt("the answer is torn"),
        Unreachable("no connection"),
    ],
)
@pytest.mark.parametrize("page", [1, 2])
async def test_an_incomplete_listing_never_means_absent(answer, page):
    server = Server([row(1000 - n) for n in range(150)], answers={page: answer})
    with pytest.raises(LookFailed):
        await server.find()


@pytest.mark.anyio
async def test_a_row_without_an_id_spoils_the_listing():
    for id_ in (None, "9", True, 0):
        with pytest.raises(InDoubt, match="no id"):
            await Server([row(id_)]).find()


@pytest.mark.anyio
async def test_a_listing_without_end_is_given_up():
    class Endless(Server):
        async def send(self, call):
            self.calls.append(call)
            offset = int(dict(call.query).get("offset", 0))
            return Answer(
                200, {**listing([row(10**6 - offset - n) for n in range(100)]), "@pagination": {"limit": 100}}
            )

    server = Endless()
    with pytest.raises(LookFailed, match="no end"):
        await server.find()
    assert len(server.calls) == MOST_REQUEST_PAGES


@pytest.mark.anyio
async def test_a_listing_that_goes_in_circles_is_given_up():
    server = Server(answers={n: Answer(200, listing([row(n) for n in range(1, 101)])) for n in range(1, 50)})
    with pytest.raises(LookFailed, match="no end"):
        await server.find()
    assert len(server.calls) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "kind"), [(Answer(403, "Forbidden\n"), AccessRefused), (Answer(429, "Retry later\n"), RateLimited)]
)
async def test_a_ban_or_the_throttle_is_told_as_such(answer, kind):
    with pytest.raises(kind):
        await Server(answers={1: answer}).find()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
ENDS = JSON | st.just({"limit": 100})
ODD_ROW = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers() | JSON,
        "event_type": st.sampled_from(["api", "push"]) | JSON,
        "commit": st.fixed_dictionaries({"message": st.just(MARKER) | JSON}) | JSON,
        "created_at": st.just(stamp(T0)) | JSON,
        "repository": JSON,
    },
)


def at_once(looking):
    """The result of a look at a server that never makes it wait."""
    try:
        looking.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


@settings(max_examples=100, deadline=None)
@given(
    body=JSON | st.builds(lambda rows, end: {**listing(rows), "@pagination": end}, st.lists(ODD_ROW, max_size=5), ENDS)
)
def test_a_listing_of_any_shape_gives_a_request_none_or_a_typed_error(body):
    server = Server(answers=dict.fromkeys(range(1, 100), Answer(200, body)))
    try:
        found = at_once(server.find())
    except (InDoubt, LookFailed):
        return
    assert found is None or found.id.isdigit()


@pytest.mark.anyio
@pytest.mark.parametrize("theirs", [{"id": 4712, "slug": "acme/gadget"}, {"slug": "acme/gadget"}])
async def test_a_row_of_another_repository_makes_the_listing_prove_nothing(theirs):
    with pytest.raises(InDoubt, match="of another repository"):
        await Server([row(9), row(8, repository=theirs)]).find()
    assert await Server([row(9, repository={"@href": "/repo/4711"})]).find() is None
    assert await Server([row(9)]).find(repo="4711") is None


@pytest.mark.anyio
@pytest.mark.parametrize("href", ["/repo/acme%2Fgadget/requests", "/repo/acme%2Fwidget/builds?limit=1", "/user", "x"])
async def test_the_listing_of_another_question_proves_nothing(href):
    hung_up = []
    answer = Answer(200, {**listing([]), "@href": href}, hang_up=lambda: hung_up.append(True))
    with pytest.raises(LookFailed, match="an answer to another question"):
        await Server(answers={1: answer}).find()
    assert hung_up == [True]


@pytest.mark.anyio
@pytest.mark.parametrize("lead", ["/repo/acme%2Fwidget", "/api/repo/github/Acme/Widget", "/repo/4711"])
async def test_a_listing_may_show_the_repository_by_any_of_its_names(lead):
    answer = Answer(200, {**listing([]), "@href": f"{lead}/requests?limit=100"})
    assert await Server(answers={1: answer}).find() is None


@pytest.mark.parametrize(
    ("shown", "id_", "page"),
    [
        ({"id": 7, "state": "pending"}, "request-7", "requests?requestId=7"),
        ({"id": 7, "state": "finished", "builds": [{"id": 9, "state": "started"}]}, "9", "builds/9"),
        ({"id": 7, "state": "finished", "result": "rejected"}, None, None),
        ({"state": "pending"}, None, None),
    ],
)
def test_what_may_be_ours_is_shown_as_its_build_or_as_the_request_while_it_has_none(shown, id_, page):
    build = may_be_of(shown, Target("travis:acme/a", "travis", "acme/a"), "https://api.travis-ci.com")
    assert (build and build.id) == id_
    assert (build and build.url) == (page and f"https://app.travis-ci.com/github/acme/a/{page}")
