"""From request to finished build, cancel and restart, the share of mishaps, determinism."""

from collections import Counter

import pytest
from sandbox_visitor import HEADERS, START, WIDGET, Visitor

from orchestrator.lookalike.travis.settings import RepoSpec, Shares, numbered

NO_ANSWER = {"commit": None, "branch_name": None, "builds": [], "result": None, "message": None}


def made(visitor, **request):
    return visitor.create(**request)["request"]["id"]


def test_a_fresh_request_tells_nothing_of_what_was_wanted():
    visitor = Visitor()
    found = visitor.request(made(visitor, message="nightly"))
    assert NO_ANSWER.items() <= found.items()
    assert (found["state"], found["event_type"], found["created_at"]) == ("pending", "api", "2027-01-15T08:00:00Z")


def test_a_processed_request_has_the_custom_message_on_its_commit_and_a_build():
    visitor = Visitor()
    id_ = made(visitor, branch="release/2.x", message="nightly [run.abcdefgh]")
    found = visitor.later(2).request(id_)
    assert (found["state"], found["result"], found["message"]) == ("finished", "approved", None)
    assert (found["branch_name"], found["commit"]["message"]) == ("release/2.x", "nightly [run.abcdefgh]")
    assert found["commit"]["@representation"] == "minimal"
    [build] = found["builds"]
    assert (build["state"], build["number"], build["event_type"]) == ("started", "1", "api")
    assert (build["duration"], build["finished_at"]) == (None, None)


def test_without_a_message_the_commit_keeps_its_own():
    visitor = Visitor()
    id_ = made(visitor)
    assert visitor.later(2).request(id_)["commit"]["message"] == "Last change on main"


def test_a_build_goes_through_its_states_with_whole_seconds():
    visitor = Visitor(concurrency=1)
    first, second = made(visitor), visitor.create("/repo/acme%2Fsvc-001")["request"]["id"]
    visitor.later(2)
    assert [visitor.build_of(each)["state"] for each in (first, second)] == ["started", "created"]
    visitor.later(60)
    done, running = visitor.build_of(first), visitor.build_of(second)
    assert (done["state"], running["state"]) == ("passed", "started")
    assert (done["started_at"], done["finished_at"]) == ("2027-01-15T08:00:02Z", "2027-01-15T08:01:02Z")
    assert done["duration"] == 60


def test_every_owner_has_a_capacity_of_its_own():
    visitor = Visitor(repos=(RepoSpec("acme/a"), RepoSpec("umbrella/b")), concurrency=1)
    ids = [visitor.create(f"/repo/{each}")["request"]["id"] for each in ("acme%2Fa", "umbrella%2Fb")]
    visitor.later(2)
    assert {visitor.build_of(each)["state"] for each in ids} == {"started"}


def test_numbers_are_text_by_repo_and_ids_are_shared_by_builds_and_jobs():
    visitor = Visitor(jobs=(3, 3))
    first, second = made(visitor), made(visitor)
    visitor.later(2)
    builds = [visitor.build_of(each) for each in (first, second)]
    assert [build["number"] for build in builds] == ["1", "2"]
    assert [build["id"] for build in builds] == [555001, 555005]
    jobs = visitor.get("/build/555001/jobs")["jobs"]
    assert [(job["id"], job["number"]) for job in jobs] == [(555002, "1.1"), (555003, "1.2"), (555004, "1.3")]


def test_duration_is_the_sum_of_the_jobs_not_wall_clock():
    visitor = Visitor(jobs=(3, 3))
    id_ = made(visitor)
    assert visitor.later(62).build_of(id_)["duration"] == 180


def test_a_number_stays_text_and_the_previous_state_is_the_branchs():
    visitor = Visitor(shares=Shares(failed=1.0))
    made(visitor)
    second = visitor.later(100).create()["request"]["id"]
    assert visitor.later(2).build_of(second)["previous_state"] == "failed"


@pytest.mark.parametrize("state", ["failed", "errored", "canceled"])
def test_builds_end_as_their_share_says(state):
    visitor = Visitor(shares=Shares(**{state: 1.0}))
    id_ = made(visitor)
    assert visitor.later(100).build_of(id_)["state"] == state


def test_jobs_that_may_fail_do_not_spoil_a_build():
    visitor = Visitor(jobs=(12, 12), shares=Shares(allow_failure=1.0))
    id_ = made(visitor)
    visitor.later(62)
    states = Counter(job["state"] for job in visitor.get("/build/555001/jobs")["jobs"])
    assert visitor.build_of(id_)["state"] == "passed"
    assert states["failed"] > 0


def test_a_rejected_request_has_a_text_and_no_build():
    visitor = Visitor(repos=(RepoSpec("acme/widget", rejects="Could not authorize build request for acme/widget."),))
    id_ = made(visitor, message="m")
    found = visitor.later(2).request(id_)
    assert (found["result"], found["builds"]) == ("rejected", [])
    assert found["message"].startswith("Could not authorize build request")
    assert found["commit"]["message"] == "m"


def test_a_request_may_be_rejected_without_a_commit():
    visitor = Visitor(shares=Shares(rejected_blind=1.0))
    id_ = made(visitor)
    found = visitor.later(2).request(id_)
    assert (found["result"], found["commit"]) == ("rejected", None)


@pytest.mark.parametrize("message", ["x [ci skip]", "[skip ci] x", "[SKIP TRAVIS]", "[travis-ci skip]"])
def test_a_skip_command_in_the_message_rejects(message):
    visitor = Visitor()
    id_ = made(visitor, message=message)
    assert visitor.later(2).request(id_)["message"] == "Build skipped via commit message"


def test_a_marker_is_no_skip_command():
    visitor = Visitor()
    id_ = made(visitor, message="nightly [ci.abcdefgh]")
    assert visitor.later(2).request(id_)["result"] == "approved"


def test_a_request_may_never_be_processed():
    visitor = Visitor(shares=Shares(never_processed=1.0))
    id_ = made(visitor)
    assert visitor.later(1e6).request(id_)["state"] == "pending"


@pytest.mark.parametrize("wanted", [{"branch": "no-such"}, {"sha": "not-a-sha"}])
def test_an_unknown_branch_or_commit_leaves_neither_commit_nor_result(wanted):
    visitor = Visitor()
    id_ = made(visitor, **wanted)
    assert NO_ANSWER.items() <= visitor.later(1e6).request(id_).items()


def test_any_branch_builds_where_the_world_is_lenient():
    visitor = Visitor(strict_branches=False)
    id_ = made(visitor, branch="new")
    assert visitor.later(2).request(id_)["branch_name"] == "new"


def test_a_commit_that_is_asked_for_is_built():
    visitor = Visitor()
    id_ = made(visitor, sha="0f3c" * 10)
    assert visitor.later(2).request(id_)["commit"]["sha"] == "0f3c" * 10


def test_a_build_may_exist_while_the_result_stays_null():
    visitor = Visitor(shares=Shares(no_result=1.0))
    id_ = made(visitor)
    found = visitor.later(2).request(id_)
    assert (found["result"], len(found["builds"])) == (None, 1)


@pytest.mark.parametrize(
    ("settings", "wanted"), [({"shares": Shares(config_error=1.0)}, {}), ({}, {"merge_mode": "deepmerge"})]
)
def test_a_broken_configuration_is_a_build_that_is_errored_from_birth(settings, wanted):
    visitor = Visitor(**settings)
    id_ = made(visitor, **wanted)
    build = visitor.later(2).build_of(id_)
    assert (build["state"], build["started_at"]) == ("errored", None)


def test_merge_modes_with_dashes_are_understood():
    visitor = Visitor()
    id_ = made(visitor, merge_mode="deep-merge-append")
    assert visitor.later(2).build_of(id_)["state"] == "started"


def test_a_cancel_is_promised_first_and_done_later():
    visitor = Visitor()
    id_ = made(visitor)
    visitor.later(2)
    status, body = visitor.refused("POST", "/build/555001/cancel")
    assert (status, body["@type"], body["state_change"], body["resource_type"]) == (202, "pending", "cancel", "build")
    assert (body["build"]["state"], body["build"]["@representation"]) == ("started", "minimal")
    assert visitor.build_of(id_)["state"] == "started"
    assert visitor.later(1).build_of(id_)["state"] == "canceled"
    status, body = visitor.refused("POST", "/build/555001/cancel")
    assert (status, body["error_type"]) == (409, "build_not_cancelable")


def test_a_build_canceled_before_it_ran_never_started_and_makes_room():
    visitor = Visitor(concurrency=1)
    ids = [made(visitor) for _ in range(3)]
    visitor.later(2).call("POST", "/build/555003/cancel")
    visitor.call("POST", "/build/555001/cancel")
    builds = [visitor.later(1).build_of(each) for each in ids]
    assert [build["state"] for build in builds] == ["canceled", "canceled", "started"]
    assert builds[1]["started_at"] is None


def test_a_restart_keeps_id_and_number_and_clears_the_times():
    visitor = Visitor(concurrency=1)
    id_ = made(visitor)
    made(visitor.later(62))
    visitor.later(2)
    status, body = visitor.refused("POST", "/build/555001/restart")
    assert (status, body["state_change"]) == (202, "restart")
    build = visitor.later(1).build_of(id_)
    assert (build["id"], build["number"], build["state"]) == (555001, "1", "created")
    assert (build["started_at"], build["finished_at"], build["duration"]) == (None, None, None)
    assert visitor.later(200).build_of(id_)["state"] == "passed"
    assert visitor.create()["remaining_requests"] == 8  # restarts do not count against the hour


def test_restarts_are_refused_by_state():
    visitor = Visitor(concurrency=1)
    made(visitor), made(visitor)
    visitor.later(2)
    assert visitor.refused("POST", "/build/555001/restart")[1]["error_type"] == "build_already_running"
    status, body = visitor.refused("POST", "/build/555003/restart")
    assert (status, body["error_type"]) == (403, "error")


@pytest.mark.parametrize("change", ["cancel", "restart"])
def test_changes_need_the_permission_and_a_login(change):
    visitor = Visitor()
    made(visitor)
    visitor.later(2).world.tables.repos[4711].may_trigger = False
    status, body = visitor.refused("POST", f"/build/555001/{change}")
    assert (status, body["permission"], body["resource_type"]) == (403, change, "build")
    assert body["build"]["id"] == 555001
    anonymous = {name: value for name, value in HEADERS.items() if name != "authorization"}
    assert visitor.refused("POST", f"/build/555001/{change}", headers=anonymous)[1]["error_type"] == "login_required"


def test_a_newer_build_cancels_older_ones_that_have_not_started():
    visitor = Visitor(concurrency=1, auto_cancel=True)
    ids = [made(visitor) for _ in range(3)]
    other = made(visitor, branch="release/2.x")
    visitor.later(2)
    assert [visitor.build_of(each)["state"] for each in (*ids, other)] == ["started", "canceled", "created", "created"]


def test_repos_are_spoilt_in_exactly_their_shares():
    shares = Shares(inactive=0.05, forbidden=0.05, unknown=0.02)
    visitor = Visitor(repos=numbered(300), shares=shares, burst=None)
    found = Counter(visitor.call("POST", f"/repo/acme%2Fsvc-{n:03d}/requests").status for n in range(1, 301))
    assert found == {202: 264, 406: 15, 403: 15, 404: 6}


def test_outcomes_come_about_as_often_as_their_shares_say():
    visitor = Visitor(repos=numbered(1000), shares=Shares(failed=0.2, errored=0.1), burst=None, concurrency=5000)
    for n in range(1, 1001):
        visitor.create(f"/repo/acme%2Fsvc-{n:04d}")
    visitor.later(100).get("/user")
    found = Counter(build.state for build in visitor.world.tables.builds.values())
    assert 150 < found["failed"] < 250
    assert 60 < found["errored"] < 140


def history(seed, order):
    visitor = Visitor(seed=seed, shares=Shares(failed=0.4, rejected=0.3), process=(1, 9), build=(5, 99), burst=None)
    for n in order:
        visitor.create(f"/repo/acme%2Fsvc-{n:03d}")
    visitor.later(1000).get("/user")
    rows = [(row.repo.slug, row.result, [b.state for b in row.builds]) for row in visitor.world.counters.accepted]
    return sorted(rows)


def test_the_seed_decides_and_not_the_order_of_calls():
    forwards, backwards = range(1, 21), range(20, 0, -1)
    assert history(7, forwards) == history(7, backwards)
    assert history(7, forwards) != history(8, forwards)


def test_time_can_be_scaled_without_moving_the_clock():
    visitor = Visitor(time_scale=10.0)
    id_ = made(visitor)
    visitor.now = START + 6.5
    build = visitor.build_of(id_)
    assert (build["state"], build["finished_at"]) == ("passed", "2027-01-15T08:00:06Z")


def test_the_servers_clock_may_be_ahead():
    visitor = Visitor(skew=3600.0)
    id_ = made(visitor)
    assert visitor.request(id_)["created_at"] == "2027-01-15T09:00:00Z"
    assert visitor.call("GET", WIDGET).headers["Date"] == "Fri, 15 Jan 2027 09:00:00 GMT"


def test_a_job_that_is_canceled_leaves_the_others_running_and_decides_the_build():
    visitor = Visitor(jobs=(2, 2))
    id_ = made(visitor)
    visitor.later(2)
    status, body = visitor.refused("POST", "/job/555002/cancel")
    assert (status, body["state_change"], body["resource_type"], body["job"]["id"]) == (202, "cancel", "job", 555002)
    jobs = visitor.later(1).get("/build/555001/jobs")["jobs"]
    assert [job["state"] for job in jobs] == ["canceled", "started"]
    assert visitor.build_of(id_)["state"] == "started"
    assert visitor.later(60).build_of(id_)["state"] == "canceled"
    assert visitor.refused("POST", "/job/555002/cancel")[1]["error_type"] == "job_not_cancelable"


def test_a_job_that_is_restarted_runs_alone_and_lets_its_build_run_again():
    visitor = Visitor(jobs=(2, 2))
    id_ = made(visitor)
    status, body = visitor.later(62).refused("POST", "/job/555003/restart")
    assert (status, body["state_change"], body["job"]["@type"]) == (202, "restart", "job")
    assert visitor.later(1).build_of(id_)["state"] == "started"
    assert [job["state"] for job in visitor.get("/build/555001/jobs")["jobs"]] == ["passed", "started"]
    assert visitor.refused("POST", "/job/555003/restart")[1]["error_type"] == "job_already_running"
    assert visitor.later(60).build_of(id_)["state"] == "passed"
    assert visitor.get("/job/555003")["restarted_at"] is not None
