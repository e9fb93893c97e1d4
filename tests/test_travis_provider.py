import pytest

from orchestrator.core.calls import Answer
from orchestrator.core.concurrency import Entry
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, RateLimited, Rejected, Unreachable
from orchestrator.core.model import Account, Build, BuildState, Request, Target, Trigger
from orchestrator.providers.port import Followed, JobLog, Principal, RepoFacts
from orchestrator.providers.travis.provider import Travis

pytestmark = pytest.mark.anyio

WIDGET = Target("travis:acme/widget@main", "travis", "acme/widget", "main")
BUILD = Build("555001", BuildState.RUNNING, "started")


def error(kind, **more):
    return {"@type": "error", "error_type": kind, "error_message": "what Travis says", **more}


class Server:
    """Answers in the order given; an exception is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.provider = Travis(Account("travis", "travis", "https://travis.corp.example/api/"), self.send, str)

    async def send(self, call):
        self.calls.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_trigger_is_one_call():
    server = Server(Answer(202, {"request": {"id": 31337}, "repository": {"id": 4711, "slug": "acme/widget"}}))
    request = await server.provider.trigger(Trigger(WIDGET, 1, None, "nightly"))
    assert request.url == "https://travis.corp.example/github/acme/widget/requests?requestId=31337"
    assert len(server.calls) == 1


@pytest.mark.parametrize("failure", [Unreachable("x"), InDoubt("x"), AccessRefused("tls_refused", "x")])
async def test_what_the_transport_says_of_a_trigger_is_passed_on(failure):
    with pytest.raises(type(failure)):
        await Server(failure).provider.trigger(Trigger(WIDGET, 1, None, "nightly"))


async def test_a_cancel_is_a_post_of_the_account_but_none_of_the_repositorys_limit():
    server = Server(Answer(202, {"@type": "pending", "state_change": "cancel"}))
    assert await server.provider.cancel(WIDGET, BUILD) is True
    [call] = server.calls
    assert (call.method, call.path, call.body) == ("POST", "/build/555001/cancel", None)
    assert (call.purpose, call.limits, call.repo) == ("other", ("triggers", "calls"), None)


async def test_a_build_that_has_ended_is_not_canceled():
    assert await Server(Answer(409, error("build_not_cancelable"))).provider.cancel(WIDGET, BUILD) is False


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(403, error("insufficient_access")), Rejected),
        (Answer(404, error("not_found", resource_type="build")), Rejected),
        (Answer(403, "access denied"), AccessRefused),
        (Answer(403, "Forbidden\n"), AccessRefused),
        (Answer(429, "Retry later\n"), RateLimited),
        (Answer(500, "Sorry"), LookFailed),
        (Answer(200, "<html>"), LookFailed),
        (InDoubt("torn"), LookFailed),
        (Unreachable("no connection"), LookFailed),
    ],
)
async def test_a_cancel_that_was_not_accepted_says_why(answer, kind):
    with pytest.raises(kind):
        await Server(answer).provider.cancel(WIDGET, BUILD)


@pytest.mark.parametrize("answer", [Answer(202, {}), Answer(409, error("build_already_running"))])
async def test_a_build_that_runs_again_was_restarted(answer):
    server = Server(answer)
    await server.provider.restart(WIDGET, BUILD)
    assert (server.calls[0].path, server.calls[0].limits) == ("/build/555001/restart", ("triggers", "calls"))


@pytest.mark.parametrize(
    ("answer", "kind", "code", "scope"),
    [
        (
            Answer(403, error("error", error_message="Abuse detected. Restart disabled.")),
            AccessRefused,
            "abuse",
            "owner:acme",
        ),
        (Answer(403, error("error")), Rejected, "not_restarted", None),
        (Answer(403, error("repo_migrated")), Rejected, "repo_migrated", None),
        (Answer(404, error("not_found")), Rejected, "not_found", None),
        (Answer(403, "Forbidden"), AccessRefused, "banned", "account"),
    ],
)
async def test_a_restart_that_was_refused_says_for_whom(answer, kind, code, scope):
    with pytest.raises(kind) as caught:
        await Server(answer).provider.restart(WIDGET, BUILD)
    assert caught.value.code == code
    assert getattr(caught.value, "scope", None) == scope


@pytest.mark.parametrize("answer", [Answer(500, "x"), Answer(200, "<html>"), InDoubt("torn")])
async def test_a_restart_without_an_answer_is_in_doubt(answer):
    with pytest.raises(InDoubt):
        await Server(answer).provider.restart(WIDGET, BUILD)


async def test_whoami_tells_the_principal_apart_by_host_and_number():
    server = Server(Answer(200, {"@type": "user", "id": 77, "login": "bot", "name": "The \x07 Bot"}))
    assert await server.provider.whoami() == Principal("travis.corp.example/user/77", "bot", "The Bot")
    assert server.calls[0].path == "/user"


@pytest.mark.parametrize("body", [error("not_found"), {"file": "not found"}, "<!DOCTYPE html>", "", {"message": "no"}])
@pytest.mark.parametrize("status", [404, 405, 410])
async def test_a_server_without_that_page_is_another_service(status, body):
    if status != 410 or body != error("not_found"):
        with pytest.raises(
            AccessRefused, match=rf"is not a Travis API: HTTP {status}, .*; correct the account's `url`"
        ):
            await Server(Answer(status, body)).provider.whoami()


@pytest.mark.parametrize("body", ["<html>blocked</html>", "", {"message": "blocked"}])
async def test_a_stranger_that_refuses_the_users_page_refuses_the_account(body):
    with pytest.raises(AccessRefused, match=r"refuses us: HTTP 403, .*the proxy") as caught:
        await Server(Answer(403, body)).provider.whoami()
    assert caught.value.code == "access_refused"
    with pytest.raises(LookFailed):
        await Server(Answer(403, body)).provider.inspect("acme/widget")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, "<!DOCTYPE html><html>", "a web page"),
        (200, "hello", "'hello'"),
        (200, {"login": "bot"}, "JSON of another kind"),
        (200, {"@type": "user"}, "JSON of another kind"),
        (200, [], "JSON of another kind"),
        (202, {"status": "ok"}, "JSON of another kind"),
        (204, "", "HTTP 204, it answers with nothing"),
    ],
)
async def test_another_service_behind_the_url_is_told_with_the_url_and_what_it_says(status, body, words):
    with pytest.raises(AccessRefused, match=words) as caught:
        await Server(Answer(status, body)).provider.whoami()
    assert caught.value.code == "not_the_provider"
    assert "https://travis.corp.example/api " in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(403, "access denied"), AccessRefused),
        (Answer(403, error("login_required")), AccessRefused),
        (Answer(429, "Retry later"), RateLimited),
        (Answer(503, ""), LookFailed),
        (Unreachable("x"), LookFailed),
    ],
)
async def test_whoami_fails_as_any_look(answer, kind):
    with pytest.raises(kind):
        await Server(answer).provider.whoami()


REPO = {
    "@type": "repository",
    "@permissions": {"read": True, "create_request": False},
    "id": 4711,
    "slug": "acme/widget",
    "active": True,
    "private": False,
    "default_branch": {"@type": "branch", "name": "main"},
}
FACTS = RepoFacts("4711", "acme/widget", True, False, "main", False)


async def test_a_repository_is_inspected_without_triggering():
    server = Server(Answer(200, REPO))
    assert await server.provider.inspect("acme/widget") == FACTS
    assert (server.calls[0].method, server.calls[0].path) == ("GET", "/repo/acme%2Fwidget")


async def test_what_a_server_does_not_tell_of_a_repository_stays_open():
    bare = {"@type": "repository", "id": 4711, "slug": "acme/widget"}
    assert await Server(Answer(200, bare)).provider.inspect("acme/Widget") == RepoFacts("4711", "acme/widget", False)


@pytest.mark.parametrize("asked", ["acme/other", "4712", "x/widget"])
async def test_facts_of_another_repository_are_no_answer(asked):
    with pytest.raises(LookFailed, match="an answer to another question: it shows acme/widget"):
        await Server(Answer(200, REPO)).provider.inspect(asked)


async def test_a_repository_that_is_not_there_is_none():
    assert await Server(Answer(404, error("not_found"))).provider.inspect("acme/widget") is None


@pytest.mark.parametrize("answer", [Answer(404, "<html>"), Answer(200, "x"), Answer(200, {"id": 1}), Answer(500, "")])
async def test_a_repository_that_cannot_be_told_is_a_failed_look(answer):
    with pytest.raises(LookFailed):
        await Server(answer).provider.inspect("acme/widget")


def page(key, entries, next_offset):
    following = None if next_offset is None else {"offset": next_offset, "limit": 100}
    pagination = {"limit": 100, "offset": 0, "is_last": next_offset is None, "next": following}
    return Answer(200, {"@type": key, key: entries, "@pagination": pagination})


async def test_an_owners_repositories_cost_one_call_for_each_hundred():
    repos = [{**REPO, "id": n, "slug": f"acme/svc-{n}"} for n in range(1, 201)]
    server = Server(page("repositories", repos[:100], 100), page("repositories", repos[100:], None))
    found = await server.provider.discover("acme")
    assert [facts.id for facts in found] == [str(n) for n in range(1, 201)]
    assert [call.path for call in server.calls] == ["/owner/acme/repos"] * 2
    assert dict(server.calls[1].query) == {"sort_by": "id", "limit": "100", "offset": "100"}


async def test_a_repository_that_moves_while_paging_is_listed_once():
    repos = [{**REPO, "id": n} for n in range(1, 101)]
    server = Server(page("repositories", repos, 100), page("repositories", [repos[-1], {"id": "odd"}], None))
    assert len(await server.provider.discover("acme")) == 100


async def test_an_owner_who_is_not_there_is_refused():
    with pytest.raises(Rejected, match="/owner/nobody/repos"):
        await Server(Answer(404, error("not_found"))).provider.discover("nobody")


async def test_branches_are_those_that_still_exist():
    entries = [
        {"name": "main"},
        {"name": "gone", "exists_on_github": False},
        {"name": "release/2.x"},
        {"name": "main"},
        {},
    ]
    server = Server(page("branches", entries, None))
    assert await server.provider.branches("acme/widget") == ["main", "release/2.x"]
    assert dict(server.calls[0].query)["exists_on_github"] == "true"


async def test_branches_of_a_repository_that_is_not_there_are_refused():
    with pytest.raises(Rejected):
        await Server(Answer(404, error("not_found"))).provider.branches("acme/widget")


async def test_a_listing_that_breaks_off_is_no_shorter_list():
    with pytest.raises(LookFailed):
        await Server(page("branches", [{"name": str(n)} for n in range(100)], 100), Answer(500, "")).provider.branches(
            "a/b"
        )


@pytest.mark.parametrize(("printed", "end"), [("x" * 100 + "the end ü", "the end ü"[1:]), ({"a": 1}, '{"a": 1}')])
async def test_the_log_is_the_end_of_what_the_first_job_to_blame_printed(printed, end):
    states = (("passed", False), ("failed", True), ("failed", False), ("errored", False), ("failed", False))
    jobs = [
        {"id": n, "number": f"412.{n}", "state": state, "allow_failure": spare}
        for n, (state, spare) in enumerate(states, start=1)
    ]
    server = Server(
        Answer(200, {"@type": "jobs", "jobs": [{"id": None, "state": "failed"}, *jobs]}), Answer(200, printed)
    )
    assert await server.provider.logs(WIDGET, BUILD, 9) == JobLog("412.4", end, BUILD.url)
    assert [call.path for call in server.calls] == ["/build/555001/jobs", "/job/4/log.txt"]
    assert server.calls[-1].at_most == 4 * 2**20


async def test_a_build_of_which_no_job_failed_has_no_log():
    jobs = [{"id": 1, "number": "412.1", "state": "passed"}, {"id": 2, "state": "failed", "allow_failure": True}]
    assert await Server(Answer(200, {"@type": "jobs", "jobs": jobs})).provider.logs(WIDGET, BUILD, 9) is None


async def test_logs_of_nothing_are_a_failed_look():
    with pytest.raises(LookFailed):
        await Server(Answer(200, [])).provider.logs(WIDGET, BUILD, 9)
    jobs = {"jobs": [{"id": 1, "state": "failed"}]}
    with pytest.raises(LookFailed):
        await Server(Answer(200, jobs), Answer(403, error("log_expired"))).provider.logs(WIDGET, BUILD, 9)


async def test_the_queue_of_an_owner_shows_who_waits_and_since_when():
    builds = [
        {"id": 1, "state": "started", "started_at": "2026-01-05T01:00:00Z", "repository": {"slug": "acme/a"}},
        {"id": 2, "state": "created", "started_at": None, "updated_at": "2026-01-05T02:00:00.500Z"},
        {"id": "odd", "state": 7, "repository": [], "started_at": "soon"},
        "not even a build",
    ]
    server = Server(Answer(200, {"@type": "active", "builds": builds}))
    assert await server.provider.queue(WIDGET) == [
        Entry("1", "acme/a", waits=False, since=1_767_574_800.0),
        Entry("2", "", waits=True, since=1_767_578_400.5),
        Entry("odd", "", waits=True, since=None),
    ]
    assert server.calls[0].path == "/owner/acme/active"
    for answer in (Answer(404, error("not_found")), Answer(200, "x")):
        with pytest.raises(LookFailed):
            await Server(answer).provider.queue(WIDGET)


async def test_the_answer_for_another_build_is_none_for_ours():
    theirs = Answer(202, {"@type": "pending", "build": {"id": 7}})
    with pytest.raises(LookFailed, match="an answer to another question"):
        await Server(theirs).provider.cancel(WIDGET, BUILD)
    with pytest.raises(InDoubt, match="an answer to another question"):
        await Server(theirs).provider.restart(WIDGET, BUILD)


async def test_the_answer_for_another_request_shows_nothing_of_ours():
    theirs = {"@type": "request", "id": 7, "result": "rejected", "builds": []}
    one = Followed(WIDGET, Request("8"), None, None, 0.0, fresh=True)
    with pytest.raises(LookFailed, match="an answer to another question"):
        await Server(Answer(200, theirs)).provider.poll([one])


async def test_a_repository_of_another_owner_is_none_of_those_that_are_discovered():
    theirs = {"@type": "repositories", "repositories": [{"id": 5, "slug": "evil/a"}], "@pagination": {"limit": 100}}
    with pytest.raises(LookFailed, match="the listing holds 'evil/a', which is not of acme"):
        await Server(Answer(200, theirs)).provider.discover("acme")


async def test_names_that_would_move_the_cursor_are_no_names():
    odd = [{"name": "main\x1b[2J"}, {"name": "main"}, {"name": "main\n"}]
    branches = {"@type": "branches", "branches": odd, "@pagination": {"limit": 100}}
    assert await Server(Answer(200, branches)).provider.branches("acme/widget") == ["main"]
    receipt = {"request": {"id": 5}, "repository": {"id": 4711, "slug": "acme/\x1b[2J <b>"}}
    request = await Server(Answer(202, receipt)).provider.trigger(
        Trigger(Target("travis:4711", "travis", "4711"), 1, None, "nightly")
    )
    assert request.url == "https://travis.corp.example/github/acme/%1B%5B2J%20%3Cb%3E/requests?requestId=5"
