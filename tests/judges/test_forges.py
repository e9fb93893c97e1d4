"""Clients that other people generated from the descriptions of Gitea and Forgejo, on our look-alikes.

Do they see what our run started, with the same ends, and can they do by themselves what we do?
"""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.slow
OURS = (sys.executable, "-m", "orchestrator")
MANIFEST = """\
version: 1
name: judged
providers: {{{type}: {{url: "{url}", token: env:TOKEN}}}}
defaults: {{workflow: ci.yml, branches: [main]}}
targets: [acme/svc-001, acme/svc-002, acme/svc-003, acme/svc-004, acme/svc-005, acme/svc-006]
"""
MEANS = {"success": "passed", "failure": "failed", "skipped": "skipped", "cancelled": "canceled"}


@contextmanager
def served(type_):
    """Where the look-alike is, and its token; runs end within two seconds, some of them badly."""
    settings = ("build=[1s, 2s]", "shares={failed: 30%, skipped: 20%}", "seed=5")
    words = [word for one in settings for word in ("--set", one)]
    command = [*OURS, "sandbox", "--type", type_, "--repos", "60", *words, "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            there = json.loads(process.stdout.readline())
            yield there["url"], there["token"]
        finally:
            process.terminate()


def reported(folder, type_, url, token):
    """What our report says of the manifest's targets."""
    (folder / "m.yaml").write_text(MANIFEST.format(type=type_, url=url))
    command = [*OURS, "run", folder / "m.yaml", "--state", folder / "state", "-q", "-o", "json"]
    environ = {**os.environ, "TOKEN": token, "HOME": str(folder)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    targets = json.loads(done.stdout)["targets"]
    assert len({target["outcome"] for target in targets}) > 1, "all ends alike judge nothing"
    return targets


async def until(ask, is_reached):
    """What is shown once it is as wanted."""
    for _ in range(150):
        if is_reached(found := await ask()):
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"after half a minute it is {found}")


def test_giteas_client_sees_what_we_started_and_does_what_we_do(tmp_path):
    import gitea_api_client as gitea

    async def judge(url, token, targets):
        configuration = gitea.Configuration(
            host=f"{url}/api/v1", api_key={"AuthorizationHeaderToken": f"token {token}"}
        )
        async with gitea.ApiClient(configuration) as client:
            api, user = gitea.RepositoryApi(client), gitea.UserApi(client)
            assert (await user.user_get_current()).login == "sandbox"
            assert len(await gitea.OrganizationApi(client).org_list_repos("acme", limit=50)) == 50
            for target in targets:
                name = target["repo"].partition("/")[2]
                [run] = (await api.get_workflow_runs("acme", name)).workflow_runs
                assert str(run.id) == target["build_id"]
                assert MEANS[run.conclusion] == target["outcome"]
                assert (run.html_url, run.head_sha) == (target["url"], target["sha"])
            found = await api.repo_get("acme", "svc-007")
            assert (found.default_branch, found.permissions.push) == ("main", True)
            assert [branch.name for branch in await api.repo_list_branches("acme", "svc-007")] == ["main"]
            body = gitea.CreateActionWorkflowDispatch(ref="main")
            made = await api.actions_dispatch_workflow("acme", "svc-007", "ci.yml", return_run_details=True, body=body)
            id_ = made.workflow_run_id
            run = await until(
                lambda: api.get_workflow_run("acme", "svc-007", id_), lambda run: run.status == "completed"
            )
            jobs = (await api.list_workflow_run_jobs("acme", "svc-007", id_)).jobs
            assert [job.conclusion for job in jobs] == [run.conclusion]
            await api.rerun_workflow_run("acme", "svc-007", id_)
            assert (await api.get_workflow_run("acme", "svc-007", id_)).run_attempt == 2
            with pytest.raises(gitea.exceptions.NotFoundException):
                await api.actions_dispatch_workflow("acme", "svc-007", "gone.yml", body=body)

    with served("gitea") as (url, token):
        asyncio.run(judge(url, token, reported(tmp_path, "gitea", url, token)))


def test_forgejos_client_sees_what_we_started_and_does_what_we_do(tmp_path):
    import httpx
    from pyforgejo import AsyncPyforgejoApi
    from pyforgejo.core.api_error import ApiError

    async def judge(url, token, targets):
        async with httpx.AsyncClient() as line:
            await judge_over(AsyncPyforgejoApi(base_url=f"{url}/api/v1", api_key=token, httpx_client=line), targets)

    async def judge_over(api, targets):
        repository = api.repository
        assert (await api.user.get_current()).login == "sandbox"
        assert len(await api.organization.org_list_repos("acme", limit=50)) == 50
        for target in targets:
            name = target["repo"].partition("/")[2]
            [run] = (await repository.list_action_runs("acme", name)).workflow_runs
            assert str(run.id) == target["build_id"]
            assert MEANS[run.status] == target["outcome"]
            assert (run.html_url, run.commit_sha) == (target["url"], target["sha"])
        assert (await repository.repo_get("acme", "svc-007")).default_branch == "main"
        made = await repository.dispatch_workflow("acme", "svc-007", "ci.yml", ref="main", return_run_info=True)
        run = await until(lambda: repository.action_run("acme", "svc-007", made.id), lambda run: run.status in MEANS)
        assert (run.index_in_repo, run.prettyref, run.workflow_id) == (made.run_number, "main", "ci.yml")
        with pytest.raises(ApiError) as caught:
            await repository.dispatch_workflow("acme", "svc-007", "gone.yml", ref="main")
        assert caught.value.status_code == 404

    with served("forgejo") as (url, token):
        asyncio.run(judge(url, token, reported(tmp_path, "forgejo", url, token)))
