"""The providers of Gitea and Forgejo: what they send, and what they make of answers."""

import pytest
from gitea_bench import BRANCHES, KINDS, ForgejoService, GiteaService, bench, said

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotTriggered, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import BuildState, Findability, Interval, Target, Trigger, marker_of
from orchestrator.providers.gitea import wire
from orchestrator.providers.gitea.declaration import DECLARATION, FORGEJO, repo_problem, target_problem
from orchestrator.testing.bench import listed

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.declaration.type)
declared = pytest.mark.parametrize("declared", [DECLARATION, FORGEJO], ids=lambda one: one.type)
OTHER = marker_of("contract", "run", "another")


@pytest.fixture
def anyio_backend():
    return "asyncio"


def a_trigger(branch="main", prepared=None, **more):
    target = Target("gitea:acme/api", "gitea", "acme/api", branch, request={"workflow": "ci.yml", **more})
    return Trigger(target, 1, "[nightly.abcdefgh]", "nightly", prepared or {"v": 1})


def failure(answer, declared=DECLARATION):
    with pytest.raises((NotTriggered, InDoubt)) as caught:
        wire.read_receipt(a_trigger(), answer, declared)
    return caught.value


def receipt(repo="acme/api"):
    lead = f"https://git.example/api/v1/repos/{repo}/actions/runs/7"
    return {"workflow_run_id": 7, "run_url": lead, "html_url": f"https://git.example/{repo}/actions/runs/7"}


# -- what is sent ---------------------------------------------------------------------------------------------------


def test_a_dispatch_says_ref_and_inputs_as_text_and_asks_either_service_for_the_run():
    call = wire.trigger_call(a_trigger(inputs={"fast": True, "level": 3}, env={"IMAGE": "x"}))
    assert call.path == "/api/v1/repos/acme/api/actions/workflows/ci.yml/dispatches"
    assert call.query == (("return_run_details", "true"),)
    inputs = {"fast": "true", "level": "3", "IMAGE": "x"}
    assert call.body == {"ref": "main", "inputs": inputs, "return_run_info": True}


def test_without_a_branch_the_default_branch_that_was_looked_up_is_dispatched():
    assert wire.trigger_call(a_trigger(None, {"v": 1, "ref": "trunk"})).body["ref"] == "trunk"


@both
async def test_the_default_branch_is_told_only_where_it_is_needed(kind):
    there = bench(kind, default_branch="trunk")
    target = there.service.target()
    assert await there.provider.prepare(target) == {"v": 1}
    assert (await there.provider.prepare(replace(target, branch=None)))["ref"] == "trunk"


@pytest.mark.parametrize("spec", [{"archived": True}, {"actions": False}])
async def test_a_repository_that_runs_nothing_is_refused_before_it_is_asked(spec):
    there = bench(spec=spec)
    target = replace(there.service.target(), branch=None)
    with pytest.raises(Rejected):
        await there.provider.prepare(target)


# -- receipts and refusals ------------------------------------------------------------------------------------------


def test_giteas_receipt_has_the_run_and_its_page():
    request = wire.read_receipt(a_trigger(), Answer(200, receipt()), DECLARATION)
    assert (request.id, request.url) == ("7", "https://git.example/acme/api/actions/runs/7")


def test_a_receipt_for_another_repository_is_a_doubt_unless_it_was_renamed():
    other = Answer(200, receipt("acme/other"))
    assert isinstance(failure(other), InDoubt)
    assert wire.read_receipt(a_trigger(), replace(other, is_moved=True), DECLARATION).id == "7"


def test_forgejos_receipt_has_the_run_alone():
    body = {"id": 9, "run_number": 2, "jobs": ["build"]}
    assert wire.read_receipt(a_trigger(), Answer(201, body), FORGEJO).id == "9"
    assert isinstance(failure(Answer(201, {"id": 9}), FORGEJO), InDoubt)


def test_an_accepted_dispatch_without_a_body_is_a_receipt_without_an_id():
    answer = Answer(204, "", {"date": "Thu, 01 Jan 1970 00:01:00 GMT"})
    assert wire.read_receipt(a_trigger(), answer, DECLARATION).handle["sent"] == 60.0


@declared
@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (said(403, "workflow is disabled"), Rejected, "workflow_disabled"),
        (said(403, "user should have a permission to write to a repo"), Rejected, "insufficient_access"),
        (said(403, "repo is archived"), Rejected, "archived"),
        (said(403, "token scope is limited to public repos"), Rejected, "insufficient_access"),
        (said(404, 'ref "x" doesn\'t exist'), Rejected, "ref_not_found"),
        (said(404, 'workflow "x" doesn\'t exist'), Rejected, "workflow_not_found"),
        (said(404, "The target couldn't be found."), Rejected, "not_found"),
        (said(422, "something new"), Rejected, "http_422"),
        (
            Answer(403, {"message": "x does not have at least one of required scope(s)"}),
            AccessRefused,
            "insufficient_scope",
        ),
        (said(401, "invalid token"), AccessRefused, "bad_token"),
    ],
)
def test_a_refusal_is_told_by_the_services_own_words(declared, answer, kind, code):
    found = failure(answer, declared)
    assert (type(found), found.code) == (kind, code)


def test_words_of_something_before_the_server_may_refuse_everything():
    assert failure(Answer(403, {"message": "blocked by the firewall"})).is_foreign
    assert failure(Answer(404, "<html>")).is_foreign
    assert not failure(said(404, "The target couldn't be found.")).is_foreign


@pytest.mark.parametrize("answer", [Answer(500, {}), Answer(502, "<html>"), Answer(200, {}), Answer(204, {"a": 1})])
def test_what_is_neither_receipt_nor_refusal_is_a_doubt(answer):
    assert isinstance(failure(answer), InDoubt)


# -- keys and what is declared ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "there is no `workflow`"),
        ({"workflow": ""}, "no file's name"),
        ({"workflow": ".gitea/workflows/ci.yml"}, "no file's name"),
        ({"workflow": "ci.yml", "inputs": {"A": 1}, "env": {"A": "2"}}, "both name 'A'"),
    ],
)
def test_keys_that_do_not_go_together_are_told_before_anything_is_sent(said, words):
    text, remedy = target_problem(Target("g:acme/api", "g", "acme/api", request=said))
    assert words in text
    assert remedy


@pytest.mark.parametrize("repo", ["acme", "acme/a/b", "/a", "a/"])
def test_a_repository_has_an_owner_and_a_name(repo):
    assert repo_problem("acme/api", {}) is None
    assert repo in repo_problem(repo, {})


@declared
def test_what_is_looked_up_for_a_branch_is_not_taken_for_the_default_branch(declared):
    target = a_trigger().target
    assert declared.place(target) != declared.place(replace(target, branch=None))


@declared
def test_both_are_found_by_listings_alone_and_warn_of_what_that_costs(declared):
    target = a_trigger(env={"A": "1"}).target
    assert (declared.finds, declared.settle, declared.connections) == (Findability.HEURISTIC, 60.0, 8)
    dropped, unmarked, trap = declared.warn(target)
    assert "drops those that the workflow does not declare" in dropped
    assert "stays in doubt" in unmarked
    assert "cancels what an earlier dispatch" in trap
    assert len(declared.warn(replace(target, marked=False, request={"workflow": "ci.yml"}))) == 1


# -- states ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "conclusion", "state"),
    [
        ("queued", "", BuildState.QUEUED),
        ("pending", "", BuildState.QUEUED),
        ("requested", "", BuildState.QUEUED),
        ("waiting", "", BuildState.RUNNING),
        ("in_progress", "success", BuildState.RUNNING),
        ("completed", "success", BuildState.PASSED),
        ("completed", "failure", BuildState.FAILED),
        ("completed", "cancelled", BuildState.CANCELED),
        ("completed", "skipped", BuildState.SKIPPED),
        ("completed", "tomorrow", BuildState.RUNNING),
        ("completed", "", BuildState.RUNNING),
        ("tomorrow", "", BuildState.RUNNING),
    ],
)
def test_a_conclusion_of_gitea_counts_only_once_the_run_is_completed(status, conclusion, state):
    run = wire.run_of({"id": 7, "status": status, "conclusion": conclusion}, DECLARATION)
    build, warning = wire.build_of(run, DECLARATION)
    assert build.state is state
    assert ("tomorrow" in str(warning)) == ("tomorrow" in (status, conclusion))


@pytest.mark.parametrize(("word", "state"), [*FORGEJO.states.items(), ("tomorrow", BuildState.RUNNING)])
def test_forgejo_has_one_word_for_both(word, state):
    build, warning = wire.build_of(wire.run_of({"id": 7, "status": word}, FORGEJO), FORGEJO)
    assert build.state is state
    assert (warning is None) == (word != "tomorrow")


def test_a_run_that_waits_for_a_person_says_so():
    for declaration, word in ((DECLARATION, "waiting"), (FORGEJO, "blocked")):
        run = wire.run_of({"id": 7, "status": word}, declaration)
        assert "approval" in wire.build_of(run, declaration)[0].reason


def test_what_has_not_happened_yet_is_written_as_1970():
    row = {"id": 7, "status": "queued", "started_at": "1970-01-01T00:00:00Z", "completed_at": "0001-01-01T00:00:00Z"}
    run = wire.run_of(row, DECLARATION)
    assert (run.made, run.seen, run.began, run.ended) == (None, None, None, None)


def test_a_row_names_its_workflow_and_branch_however_it_writes_them():
    row = {"id": 7, "status": "queued", "path": ".gitea/workflows/a@b.yml@refs/tags/v1", "head_branch": ""}
    run = wire.run_of(row, DECLARATION)
    assert (run.workflow, run.ref) == ("a@b.yml", "v1")
    assert wire.run_of({"id": 7, "status": "x", "workflow_id": "a@b.yml"}, FORGEJO).workflow == "a@b.yml"


# -- lost answers ---------------------------------------------------------------------------------------------------


@both
async def test_a_lost_answer_is_settled_only_where_no_run_could_be_it(kind):
    there = bench(kind)
    trigger, asked = await there.lose("lost_before")
    assert await there.find(trigger, asked) is None
    there = bench(kind)
    trigger, asked = await there.lose("lost_after")
    doubt = await there.find(trigger, asked)
    assert isinstance(doubt, InDoubt)
    assert "that carry no marker, which may be this one: 4001" in doubt.cause
    assert "/actions/runs/" in doubt.cause


@both
async def test_runs_of_others_of_another_time_branch_or_workflow_are_not_it(kind):
    there = bench(kind, {"workflows": ("ci.yml", "b.yml"), "branches": ("main", "dev")})
    wish = await there.wish()
    await there.provider.trigger(wish)  # long before
    there.service.wait(600.0)
    began = there.service.now()
    for change in ({"branch": "dev"}, {"request": {"workflow": "b.yml"}}):
        await there.provider.trigger(replace(wish, target=replace(wish.target, **change)))
    known = await there.provider.trigger(wish)  # belongs to another target
    asked = Interval(began, there.service.now())
    assert await there.find(wish, asked, [known.id]) is None
    assert isinstance(await there.find(wish, asked), InDoubt)


async def test_a_run_that_was_made_after_the_time_of_the_call_is_not_it_where_the_server_tells_when():
    for kind, version, kept in (
        (ForgejoService, "15.0", False),
        (GiteaService, "1.28.0", False),
        (GiteaService, "1.27.3", True),
    ):
        there = bench(kind, version=version)
        trigger, asked = await there.lose("lost_before")
        there.service.wait(120.0)
        await there.provider.trigger(trigger)
        found = await there.find(trigger, asked)
        assert isinstance(found, InDoubt) == kept, (version, found)


@both
async def test_a_listing_with_a_row_that_is_none_proves_nothing(kind):
    there = bench(kind)
    trigger, asked = await there.lose("lost_before")
    there.rewrite = lambda body: {**body, "workflow_runs": [{"id": "x"}]} if "workflow_runs" in body else body
    with pytest.raises(InDoubt):
        await there.provider.find(trigger, asked, ())


async def test_a_listing_without_an_end_proves_nothing():
    there = bench()
    trigger, asked = await there.lose("lost_after")
    there.rewrite = lambda body: listed(body, 1)
    endless = Answer(200, {"workflow_runs": [{"id": 1, "status": "queued"}]})
    assert isinstance(await there.outcome(endless, lambda: there.provider.find(trigger, asked, ())), LookFailed)


async def test_every_page_of_a_listing_is_read_whether_it_links_to_the_next_or_not():
    there = bench()
    trigger, asked = await there.lose("lost_after")
    for _ in range(60):
        await there.provider.trigger(replace(trigger, marker=OTHER))
    sent = len(there.calls)
    doubt = await there.find(trigger, asked)
    assert "61 request(s)" in doubt.cause
    assert [dict(call.query)["page"] for call in there.calls[sent:]] == ["1", "2", "3"]


# -- following ------------------------------------------------------------------------------------------------------


async def test_an_older_server_tells_no_id_and_the_one_run_that_it_can_be_is_followed():
    there = bench(version="1.26.0")
    one = await there.follow()
    assert one.request.id == wire.ACCEPTED
    one, seen = await there.until(one, lambda build: build.state.is_final)
    assert one.request.id == seen[-1].id


async def test_of_two_runs_that_an_older_server_may_have_accepted_none_is_followed():
    there = bench(version="1.26.0")
    one = await there.follow()
    await there.follow(one.target.repo)
    seen = await there.poll(one)
    assert seen.builds == ()
    assert "2 runs may be the one" in seen.warning


async def test_a_run_that_is_another_requests_is_not_taken_again():
    there = bench(version="1.26.0")
    one = await there.follow()
    first = (await there.poll(one)).request
    there.service.wait(1.0)
    other = await there.follow(one.target.repo)
    assert (await there.poll(replace(other, target=replace(other.target, id="other")))).request.id != first.id


async def test_a_read_that_shows_another_run_is_no_look_at_this_one():
    there = bench()
    one = await there.follow()
    there.rewrite = lambda body: {**body, "id": 7}
    with pytest.raises(LookFailed):
        await there.poll(one)


# -- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "version"), [(GiteaService, "1.27.3"), (ForgejoService, "15.0")])
async def test_a_server_that_cannot_cancel_says_from_when_on_it_could_and_where_a_person_can(kind, version):
    there = bench(kind, version=version)
    one = await there.follow()
    build = (await there.poll(one)).builds[0]
    with pytest.raises(Rejected) as caught:
        await there.provider.cancel(one.target, build)
    assert caught.value.code == "not_canceled"
    assert build.url in caught.value.reason


async def test_what_failed_of_a_run_is_started_again_and_a_run_that_goes_on_is_what_was_wanted():
    there = bench()
    one, [*_, build] = await there.until(await there.follow("acme/fails"), lambda build: build.state.is_final)
    await there.provider.restart(one.target, build)
    assert there.calls[-1].path.endswith("/rerun-failed-jobs")
    await there.provider.restart(one.target, build)
    await there.provider.restart(one.target, replace(build, state=BuildState.ERRORED))
    assert there.calls[-1].path.endswith("/rerun")
    old = await there.outcome(Answer(404, "404 page not found"), lambda: there.provider.restart(one.target, build))
    assert (type(old), old.code) == (Rejected, "not_restarted")


async def test_doctor_is_told_of_inputs_that_would_be_dropped():
    for kind in KINDS:
        there = bench(kind, {"inputs": ("level",)})
        target = replace(there.service.target(), request={"workflow": "ci.yml", "inputs": {"level": 3}})
        assert await there.provider.advise(target) is None
        text, remedy = await there.provider.advise(replace(target, request={**target.request, "env": {"IMAGE": "x"}}))
        assert "does not declare IMAGE" in text
        assert "drops" in text
        assert remedy
        text, _ = await there.provider.advise(replace(target, request={**target.request, "workflow": "gone.yml"}))
        assert "gone.yml can be read on main" in text


@both
async def test_a_token_that_may_not_read_its_user_has_none(kind):
    there = bench(kind)
    assert (await there.provider.whoami()).login == "sandbox"
    refusal = Answer(403, {"message": "token does not have at least one of required scope(s): [read:user]"})
    assert await there.outcome(refusal, there.provider.whoami) is None
    for answer in (Answer(200, "<html>"), Answer(404, "404 page not found")):
        assert isinstance(await there.outcome(answer, there.provider.whoami), AccessRefused)


@both
async def test_branches_and_repositories_are_read_over_all_pages(kind):
    there = bench(kind)
    assert await there.provider.branches("acme/branchy") == list(BRANCHES)
    assert len(await there.provider.discover("many")) == 120
    with pytest.raises(Rejected):
        await there.provider.branches("acme/gone")


@both
async def test_a_branch_that_is_not_there_is_seen_to_be_missing(kind):
    there = bench(kind)
    target = replace(there.service.target(), repo="acme/branchy", branch="release/7")
    assert await there.provider.sees_branch(target)
    assert not await there.provider.sees_branch(replace(target, branch="release/700"))


def test_the_page_of_a_targets_requests_is_the_servers_own():
    there = bench()
    assert there.provider.requests_page(a_trigger().target) == "http://127.0.0.1:9/acme/api/actions"
