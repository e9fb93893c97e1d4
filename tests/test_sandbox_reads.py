"""Listings, pages, includes, representations."""

import pytest
from sandbox_visitor import WIDGET, Visitor

from orchestrator.lookalike.travis.settings import RepoSpec, numbered

BUILD_MINIMAL = {
    "id", "number", "state", "duration", "event_type", "previous_state", "pull_request_title", "pull_request_number",
    "started_at", "finished_at", "private", "priority",
}  # fmt: skip


def keys(shown):
    return {name for name in shown if not name.startswith("@")}


def with_requests(count, **settings):
    visitor = Visitor(hourly=1000, minute=None, burst=None, **settings)
    for _ in range(count):
        visitor.create()
    return visitor.later(2)


def test_requests_come_newest_first_twenty_five_at_a_time():
    visitor = with_requests(60)
    found = visitor.get(f"{WIDGET}/requests")
    assert [each["id"] for each in found["requests"]] == list(range(31396, 31371, -1))
    assert found["@type"] == "requests"
    assert (found["@pagination"]["limit"], found["@pagination"]["count"]) == (25, 60)


def test_pages_can_be_walked_by_their_next():
    visitor, seen, offset = with_requests(60), [], 0
    while True:
        found = visitor.get(f"{WIDGET}/requests", limit=25, offset=offset)
        seen += [each["id"] for each in found["requests"]]
        if found["@pagination"]["next"] is None:
            break
        offset = found["@pagination"]["next"]["offset"]
    assert seen == list(range(31396, 31336, -1))
    assert found["@pagination"]["is_last"] is True
    assert found["@pagination"]["last"]["offset"] == 50
    assert found["@pagination"]["prev"]["offset"] == 25
    assert "limit=25&offset=0" in found["@pagination"]["first"]["@href"]


@pytest.mark.parametrize(("limit", "count"), [("7", 7), ("500", 100), ("0", 100), ("-3", 25)])
def test_a_limit_is_capped_at_a_hundred(limit, count):
    visitor = with_requests(120)
    assert len(visitor.get(f"{WIDGET}/requests", limit=limit)["requests"]) == count


@pytest.mark.parametrize("name", ["limit", "offset"])
def test_a_limit_that_is_no_number_is_refused(name):
    status, body = Visitor().refused("GET", f"{WIDGET}/requests", {name: "many"})
    assert (status, body["error_type"], body["error_message"]) == (400, "wrong_params", f"{name} must be an integer")


def test_without_counting_there_always_is_a_next_page():
    page = with_requests(3).get(f"{WIDGET}/requests", limit=10, offset=100, skip_count="true")
    assert page["requests"] == []
    assert page["@pagination"]["count"] == 120
    assert (page["@pagination"]["is_last"], page["@pagination"]["next"]["offset"]) == (False, 110)


def test_a_listing_has_standard_entries_with_minimal_ones_inside():
    [shown] = with_requests(1).get(f"{WIDGET}/requests")["requests"]
    assert shown["@representation"] == "standard"
    assert "@permissions" not in shown
    assert keys(shown) == {
        "id", "state", "result", "message", "pull_request_mergeable", "repository", "branch_name", "commit", "builds",
        "owner", "created_at", "event_type", "base_commit", "head_commit", "messages", "config", "raw_configs",
    }  # fmt: skip
    assert keys(shown["repository"]) == {"id", "name", "slug"}
    assert keys(shown["builds"][0]) == BUILD_MINIMAL
    assert shown["owner"]["login"] == "acme"


def test_a_minimal_listing_can_include_builds():
    query = {"representation": "minimal", "include": "request.builds", "skip_count": "true", "limit": "100"}
    [shown] = with_requests(1).get(f"{WIDGET}/requests", **query)["requests"]
    assert keys(shown) == {"id", "state", "result", "message", "pull_request_mergeable", "builds"}
    assert shown["builds"][0]["@representation"] == "standard"
    assert "@permissions" not in shown


def test_an_included_field_is_standard_and_its_ancestors_collapse():
    shown = with_requests(1).get("/build/555001", include="build.request,build.commit,build.jobs")
    assert shown["request"]["@representation"] == "standard"
    assert shown["request"]["builds"] == [{"@href": "/build/555001"}]
    assert {"committer", "author"} <= keys(shown["commit"])
    assert shown["jobs"][0]["state"] == "started"
    assert shown["jobs"][0]["build"] == {"@href": "/build/555001"}


@pytest.mark.parametrize("include", ["request", "request.", "Request.builds", "request.builds.id"])
def test_a_malformed_include_is_refused(include):
    status, body = with_requests(1).refused("GET", f"{WIDGET}/requests", {"include": include})
    assert (status, body["error_message"]) == (400, "illegal format for include parameter")


def test_an_unknown_field_is_refused_and_an_unknown_type_ignored():
    visitor = with_requests(1)
    status, body = visitor.refused("GET", "/build/555001", {"include": "build.foo"})
    assert (status, body["error_type"], body["error_message"]) == (
        400,
        "wrong_params",
        'no field "build.foo" to include',
    )
    assert visitor.get("/build/555001", include="galaxy.foo")["id"] == 555001


def test_an_unknown_representation_is_a_server_error():
    assert with_requests(1).refused("GET", f"{WIDGET}/requests", {"representation": "tiny"})[0] == 500


def test_the_repo_in_the_path_of_a_single_request_is_not_looked_at():
    visitor = with_requests(1)
    assert visitor.get("/repo/4715/request/31337")["repository"]["id"] == 4711


def test_a_build_stands_on_its_own():
    shown = with_requests(1).get("/build/555001")
    assert keys(shown) == BUILD_MINIMAL | {
        "repository", "branch", "tag", "commit", "jobs", "stages", "created_by", "updated_at",
    }  # fmt: skip
    assert shown["@permissions"] == {"read": True, "cancel": True, "restart": True, "prioritize": False}
    assert keys(shown["jobs"][0]) == {"id"}
    assert shown["updated_at"] == "2027-01-15T08:00:02.000Z"
    assert keys(shown["created_by"]) == {"id", "login"}


def test_builds_of_a_repo_can_be_sorted_and_filters_that_are_not_there_warn():
    visitor = with_requests(3)
    visitor.later(61)

    def ids(**query):
        return [each["id"] for each in visitor.get(f"{WIDGET}/builds", **query)["builds"]]

    assert ids() == ids(sort_by="number:desc") == [555005, 555003, 555001]
    assert ids(sort_by="id:asc") == [555001, 555003, 555005]
    assert ids(sort_by="id:desc", limit=1) == [555005]
    [warning] = visitor.get(f"{WIDGET}/builds", event_type="api")["@warnings"]
    assert (warning["warning_type"], warning["parameter"]) == ("ignored_parameter", "event_type")
    shown = [len(visitor.get(f"{WIDGET}/builds", state=state)["builds"]) for state in ("passed,failed", "started")]
    assert shown == [3, 0]


def test_an_order_that_does_not_exist_warns_and_is_ignored():
    found = with_requests(2).get(f"{WIDGET}/builds", sort_by="beauty:desc")
    assert found["@warnings"][0]["value"] == "beauty:desc"
    assert [each["number"] for each in found["builds"]] == ["2", "1"]


def test_the_users_builds_come_from_all_repos_a_hundred_at_a_time():
    visitor = Visitor(repos=numbered(120), burst=None, others={"second": "else"})
    for n in range(1, 121):
        visitor.create(f"/repo/acme%2Fsvc-{n:03d}")
    found = visitor.later(2).get("/builds", sort_by="id:desc", representation="list")
    assert len(found["builds"]) == 100
    assert found["@pagination"]["count"] == 120
    assert keys(found["builds"][0]) == BUILD_MINIMAL | {"branch", "tag", "commit", "request", "created_by"}
    assert found["builds"][0]["request"]["id"] > found["builds"][1]["request"]["id"]
    assert {"@warnings", "builds"} <= visitor.get("/builds", state="passed").keys()


def test_active_builds_of_an_owner_come_all_at_once_and_leave_when_they_end():
    visitor = Visitor(repos=(*numbered(120), RepoSpec("umbrella/x")), burst=None, concurrency=100)
    for n in range(1, 121):
        visitor.create(f"/repo/acme%2Fsvc-{n:03d}")
    visitor.create("/repo/umbrella%2Fx")
    found = visitor.later(2).get("/owner/acme/active")
    assert len(found["builds"]) == 120
    assert "@pagination" not in found
    assert {each["state"] for each in found["builds"]} == {"started", "created"}
    assert found["builds"][0]["jobs"][0]["@type"] == "job"
    assert len(visitor.later(61).get("/owner/acme/active")["builds"]) == 20


def test_a_job_and_its_log_can_be_read():
    visitor = with_requests(1)
    assert visitor.get("/job/555002")["build"]["id"] == 555001
    reply = visitor.later(60).call("GET", "/job/555002/log.txt")
    assert (reply.headers["Content-Type"], b"make test" in reply.body) == ("text/plain", True)
    assert reply.body.endswith(b"Your build exited with 0.\r\n")
    assert visitor.get("/job/555002", include="job.config")["config"] == {}


def test_a_repo_tells_whether_it_may_be_triggered():
    visitor = Visitor(repos=(RepoSpec("acme/widget", may_trigger=False, active=False),))
    shown = visitor.get(WIDGET)
    assert (shown["active"], shown["@permissions"]["create_request"], shown["@permissions"]["read"]) == (
        False,
        False,
        True,
    )
    assert (shown["slug"], shown["default_branch"]["name"]) == ("acme/widget", "main")


def test_repos_of_an_owner_are_listed_and_filtered():
    visitor = Visitor(repos=(*numbered(150), RepoSpec("acme/idle", active=False), RepoSpec("acme/ghost", known=False)))
    found = visitor.get("/owner/ACME/repos", sort_by="id")
    assert len(found["repositories"]) == 100
    assert found["@pagination"]["count"] == 151
    assert visitor.get("/owner/acme/repos", active="false")["repositories"][0]["slug"] == "acme/idle"
    assert visitor.get("/owner/acme/repos", **{"repository.active": "true"})["@pagination"]["count"] == 150
    assert visitor.get("/owner/acme/repos", active="false", representation="minimal")["repositories"] == [
        {
            "@type": "repository",
            "@href": "/repo/4861",
            "@representation": "minimal",
            "id": 4861,
            "name": "idle",
            "slug": "acme/idle",
        }
    ]
    assert visitor.get("/repos")["@pagination"]["count"] == 151


def test_branches_are_listed_the_default_one_first():
    found = Visitor().get(f"{WIDGET}/branches", exists_on_github="true")
    assert [(each["name"], each["default_branch"]) for each in found["branches"]] == [
        ("main", True),
        ("release/2.x", False),
    ]


def test_the_user_and_the_owner_introduce_themselves():
    visitor = Visitor(login="robot")
    user = visitor.get("/user")
    assert (user["@type"], user["id"], user["login"]) == ("user", 77, "robot")
    assert visitor.get("/owner/acme")["login"] == "acme"


def test_a_new_row_may_stay_out_of_listings_for_a_while():
    visitor = Visitor(lag=(5.0, 5.0), process=(1.0, 1.0))
    id_ = visitor.create()["request"]["id"]
    assert visitor.later(2).get(f"{WIDGET}/requests")["requests"] == []
    assert visitor.get("/builds")["builds"] == []
    assert visitor.get("/owner/acme/active")["builds"] == []
    assert visitor.request(id_)["id"] == id_
    assert len(visitor.later(4).get(f"{WIDGET}/requests")["requests"]) == 1
    assert len(visitor.get("/builds")["builds"]) == 1


def test_neighbours_in_a_listing_may_change_places_but_none_is_lost():
    plain, mixed = with_requests(40), with_requests(40, reorder=True)
    ids = [[each["id"] for each in v.get(f"{WIDGET}/requests", limit=100)["requests"]] for v in (plain, mixed)]
    assert ids[0] != ids[1]
    assert ids[0] == sorted(ids[1], reverse=True)
