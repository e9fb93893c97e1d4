"""Situations that people met, played through the real command line; the server tells what came of each."""

import json

import pytest
from hostile import Shell, serve, world

from orchestrator.core.errors import Exit
from orchestrator.lookalike.kit.http import HTML, Reply, json_reply, text

pytestmark = pytest.mark.slow


def with_header(name, value):
    def spoil(seen, reply):
        found = reply()
        return found._replace(headers={**found.headers, name: value})

    return spoil


POLICY = "Content-Security-Policy"


def test_a_run_passes_behind_a_gateway_that_adds_a_long_header(tmp_path):
    hosts = "default-src " + " ".join(f"https://h{n}.example.com" for n in range(400))
    with serve(world(["acme/a", "acme/b"]), with_header(POLICY, hosts)) as server:
        shell = Shell(tmp_path, server)
        assert shell("run", shell.manifest("acme/a", "acme/b"), "--yes", "--timeout", "25s") == Exit.OK, shell.err
        assert len(server.triggers) == 2


def test_an_account_of_which_no_answer_can_be_read_triggers_nothing(tmp_path):
    with serve(world(["acme/a", "acme/b"]), with_header(POLICY, "x" * 150_000)) as server:
        shell = Shell(tmp_path, server)
        assert shell("run", shell.manifest("acme/a", "acme/b"), "--yes", "--timeout", "25s") == Exit.ACCOUNT
        assert server.triggers == []
        assert POLICY.lower() in (shell.out + shell.err).lower()


LOCALES = {
    "C": {"LC_ALL": "C"},
    "C, not coerced": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "ascii": {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
}


@pytest.mark.parametrize("locale", LOCALES.values(), ids=LOCALES)
def test_a_terminal_that_lacks_a_character_changes_no_exit_code(tmp_path, locale):
    with serve(world(["acme/a", "acme/b"], failed=True)) as server:
        shell = Shell(tmp_path, server, **locale)
        manifest = shell.manifest(
            "acme/a@функция/ветка", {"repo": "acme/b", "branch": "belgië", "message": "Änderung ☃ 😀"}
        )
        files = [word for name in ("json", "csv", "junit", "markdown") for word in ("-o", f"{name}=r.{name}")]
        assert shell("run", manifest, "--yes", "-v", "-o", "text", *files) == Exit.FAILED, shell.err
        assert "acme/a" in shell.out
        assert "Traceback" not in shell.err
        assert shell.report()["targets"][0]["branch"] == "функция/ветка"
        for name in ("csv", "junit", "markdown"):
            assert "функция/ветка" in (tmp_path / f"r.{name}").read_text(encoding="utf-8")


# -- proxies ----------------------------------------------------------------------------------------------------

FAR = "https://10.1.2.3/api"
DIRECT = ["10.1.2.3", "*", "10.0.0.0/8", "10.1.2.3:443", "foo.com 10.1.2.3"]


def refuse(seen, reply):
    return b"HTTP/1.1 403 Forbidden by corporate policy\r\nContent-Length: 0\r\n\r\n"


def far_shell(folder, server, **environ):
    shell = Shell(folder, server, **{name: value.format(server.port) for name, value in environ.items()})
    name = shell.manifest("acme/a")
    path = folder / name
    path.write_text(path.read_text().replace(server.url, FAR).replace("reach: 20s", "reach: 2s"))
    shell("doctor", name)
    return shell


@pytest.mark.parametrize("variable", ["http://127.0.0.1:{}", "127.0.0.1:{}", "http://user:p%40ss@127.0.0.1:{}"])
def test_a_proxy_is_asked(tmp_path, variable):
    with serve(world([]), refuse) as server:
        far_shell(tmp_path, server, HTTPS_PROXY=variable)
        assert {seen.method for seen in server.seen} == {"CONNECT"}


@pytest.mark.parametrize("excepted", DIRECT)
def test_what_is_excepted_from_the_proxy_is_reached_directly(tmp_path, excepted):
    with serve(world([]), refuse) as server:
        far_shell(tmp_path, server, HTTPS_PROXY="http://127.0.0.1:{}", NO_PROXY=excepted)
        assert server.seen == []


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_kind_of_proxy_that_is_not_spoken_is_refused_in_words(tmp_path, name, scheme):
    with serve(world([]), refuse) as server:
        shell = far_shell(tmp_path, server, **{name: scheme + "://127.0.0.1:{}"})
        assert shell.code != Exit.OK
        assert server.seen == []
        assert scheme in shell.out + shell.err


def test_the_proxy_for_everything_is_asked_or_refused_in_words(tmp_path):
    with serve(world([]), refuse) as server:
        shell = far_shell(tmp_path, server, ALL_PROXY="http://127.0.0.1:{}")
        assert server.seen or "ALL_PROXY" in shell.out + shell.err


# -- weather ----------------------------------------------------------------------------------------------------


def instead_of_triggers(answer, while_=lambda seen: True):
    """Sends that answer where a build is asked for."""

    def spoil(seen, reply):
        return answer if seen.method == "POST" and while_(seen) else reply()

    return spoil


def test_a_server_that_asks_to_wait_no_time_is_not_asked_at_once_again(tmp_path):
    names = [f"acme/r{n}" for n in range(30)]
    refusal = text(429, "Retry later\n")._replace(headers={"Retry-After": "0", "Content-Type": "text/plain"})
    with serve(world(names), instead_of_triggers(refusal)) as server:
        shell = Shell(tmp_path, server)
        assert shell("run", shell.manifest(*names), "--yes", "--timeout", "6s") == Exit.TIMEOUT
        assert 1 <= len(server.triggers) <= 16 + 8  # one for each connection, and then some


def test_an_outage_spends_a_handful_of_targets_and_all_pass_after_it(tmp_path):
    names = [f"acme/r{n}" for n in range(120)]
    sorry = Reply(503, {"Retry-After": "3", "Content-Type": HTML}, b"<html>maintenance</html>")
    with serve(world(names)) as server:
        server.spoil = instead_of_triggers(sorry, lambda seen: seen.at < server.triggers[0].at + 6.0)
        shell = Shell(tmp_path, server)
        manifest = shell.manifest(*names, limits=", limits: {triggers: 400/30s, calls: 20000/1m}")
        shell("run", manifest, "--yes", "-o", "json=r.json", "--timeout", "100s")
        assert len({seen.repo for seen in server.triggers if seen.at < server.triggers[0].at + 6.0}) <= 5 + 16 + 8
        assert shell.code == Exit.OK
        assert shell.report()["totals"]["passed"] == 120
        assert len(server.look_alike.counters.accepted) == 120


PAGE = "<!DOCTYPE html><html><head><title>Attention Required!</title></head></html>"
FIREWALL = Reply(403, {"Content-Type": HTML, "Server": "a firewall"}, PAGE.encode())


def test_one_body_that_a_firewall_refuses_rejects_that_target_alone(tmp_path):
    names = [f"acme/x{n}" for n in range(40)]
    with serve(world(["acme/b", *names]), instead_of_triggers(FIREWALL, lambda seen: seen.repo == "acme/b")) as server:
        shell = Shell(tmp_path, server)
        shell("run", shell.manifest("acme/b", *names), "--yes", "-o", "json=r.json", "--timeout", "60s")
        assert shell.code == Exit.FAILED
        outcomes = {target["repo"]: target["outcome"] for target in shell.report()["targets"]}
        assert outcomes.pop("acme/b") == "rejected"
        assert set(outcomes.values()) == {"passed"}


def test_a_firewall_that_refuses_one_repository_after_another_stops_the_account(tmp_path):
    names = [f"acme/x{n}" for n in range(60)]
    with serve(world(names), instead_of_triggers(FIREWALL)) as server:
        shell = Shell(tmp_path, server)
        assert shell("run", shell.manifest(*names), "--yes", "--timeout", "60s") == Exit.ACCOUNT
        assert len(server.triggers) < 40


def test_a_byte_order_mark_before_json_is_read_over(tmp_path):
    def marked(seen, reply):
        found = reply()
        return found._replace(body=b"\xef\xbb\xbf" + found.body)

    with serve(world(["acme/a", "acme/b"]), marked) as server:
        shell = Shell(tmp_path, server)
        assert shell("run", shell.manifest("acme/a", "acme/b"), "--yes", "--timeout", "30s") == Exit.OK, shell.err


def test_an_api_that_knows_no_path_at_all_is_not_triggered(tmp_path):
    with serve(world(["acme/a"]), lambda seen, reply: json_reply(404, {"file": "not found"})) as server:
        shell = Shell(tmp_path, server)
        assert shell("run", shell.manifest("acme/a", "acme/b"), "--yes", "--timeout", "30s") == Exit.ACCOUNT
        assert server.triggers == []


# -- what is typed ----------------------------------------------------------------------------------------------

THREE = ({"repo": "acme/a", "labels": ["x"]}, "acme/b", "acme/c")
REPOS = ("acme/a", "acme/b", "acme/c")


def acts_or_refuses(shell, words, acted):
    """Whether the command was refused as wrong usage, or did what its flags say."""
    return shell(*words) == Exit.USAGE or acted()


def test_cancel_with_a_selection_cancels_that_alone_or_is_refused(tmp_path):
    with serve(world(REPOS, build=40.0)) as server:
        shell = Shell(tmp_path, server)
        shell("run", shell.manifest(*THREE), "--yes", "--run-id", "r1", "--timeout", "3s")
        assert len(server.triggers) == 3
        words = ("cancel", "r1", "--only", "acme/a", "--yes")
        assert acts_or_refuses(shell, words, lambda: len(server.cancels) == 1)
        assert len(server.cancels) <= 1


@pytest.mark.parametrize(
    ("words", "cancels"), [((), 3), (("--only", "acme/a"), 1), (("--keep-builds",), 0)], ids=["all", "one", "none"]
)
def test_a_quiet_cancel_that_works_prints_nothing(tmp_path, words, cancels):
    with serve(world(REPOS, build=40.0)) as server:
        shell = Shell(tmp_path, server)
        shell("run", shell.manifest(*THREE), "--yes", "--run-id", "r1", "--timeout", "3s")
        assert shell("cancel", "r1", "-q", *words) == Exit.OK, shell.err
        assert (shell.out, shell.err) == ("", "")
        assert len(server.cancels) == cancels


def test_a_quiet_cancel_that_fails_says_why(tmp_path):
    with serve(world(REPOS, build=40.0)) as server:
        shell = Shell(tmp_path, server)
        shell("run", shell.manifest(*THREE), "--yes", "--run-id", "r1", "--timeout", "3s")
        assert shell("cancel", "r1", "-q", "--only", "acme/x") == Exit.NOT_STARTED
        assert "none of 3 targets is selected" in shell.err


@pytest.mark.parametrize(
    "flags", [("--only", "acme/a"), ("--label", "x"), ("--first", "1", "--exclude", "acme/[bc]")], ids=" ".join
)
def test_retry_with_a_selection_asks_for_that_alone_or_is_refused(tmp_path, flags):
    with serve(world(REPOS, failed=True)) as server:
        shell = Shell(tmp_path, server)
        assert shell("run", shell.manifest(*THREE), "--yes", "--run-id", "r1", "--timeout", "60s") == Exit.FAILED
        words = ("retry", "r1", *flags, "--yes", "--timeout", "30s")
        assert acts_or_refuses(shell, words, lambda: len(server.triggers) == 4)
        assert len(server.triggers) <= 4


@pytest.mark.parametrize(
    "words",
    [
        "report r1 --only acme/a -o list",
        "diff r1 r1 --only acme/a",
        "why r1 travis:acme/b@main --only acme/a",
        "status r1 --only acme/a",
        "runs --only acme/a",
    ],
)
def test_a_verb_that_shows_acts_on_a_selection_or_refuses_it(tmp_path, words):
    with serve(world(REPOS, failed=True)) as server:
        shell = Shell(tmp_path, server)
        shell("run", shell.manifest(*THREE), "--yes", "--run-id", "r1", "--timeout", "60s")
        assert acts_or_refuses(shell, words.split(), lambda: "acme/b" not in shell.out and "3 of 3" not in shell.out)


@pytest.fixture
def nightly(tmp_path):
    """A run that has passed, and the shell that made it."""
    with serve(world([*REPOS, "acme/new"])) as server:
        shell = Shell(tmp_path, server)
        shell.manifest("acme/a", "acme/b")
        assert shell("run", "manifest.yaml", "--yes", "--run-id", "nightly") == Exit.OK, shell.err
        assert len(server.triggers) == 2
        yield shell


def test_the_same_id_with_the_same_plan_gives_the_report_again(nightly):
    assert nightly("run", "manifest.yaml", "--yes", "--run-id", "nightly") == Exit.OK
    assert "2 passed" in nightly.out
    assert len(nightly.server.triggers) == 2


def test_the_id_of_an_ended_run_with_another_plan_is_refused_with_the_difference(nightly):
    nightly.manifest("acme/a", "acme/b", "acme/new")
    assert nightly("run", "manifest.yaml", "--yes", "--run-id", "nightly") == Exit.NOT_STARTED
    assert "1" in nightly.err
    assert len(nightly.server.triggers) == 2


def test_an_empty_run_id_is_wrong_usage(nightly):
    assert nightly("run", "manifest.yaml", "--yes", "--run-id", "", "--overlap", "allow") == Exit.USAGE
    assert len(nightly.server.triggers) == 2


# -- names and lists --------------------------------------------------------------------------------------------


def planned(shell, manifest="m.yaml"):
    assert shell("plan", "--offline", manifest, "-o", "json") == Exit.OK, shell.err + shell.out
    return json.loads(shell.out)["targets"]


def with_list(folder, text, name="lines.txt"):
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "m.yaml").write_text(f"version: 1\ntargets: [{{from: {name}}}]\n")
    return Shell(folder)


BRANCHES = """acme/one@feature#12
acme/two@dependabot/npm_and_yarn/@babel/core-7.1
acme/three@v1.0+build
acme/three@user/name@host
acme/three@gh-readonly-queue/main/pr-1-abc
acme/u@ветка
acme/em@\N{ROCKET}
"""


def test_the_branch_of_a_line_is_all_that_stands_behind_the_at_sign(tmp_path):
    found = [(target["repo"], target["branch"]) for target in planned(with_list(tmp_path, BRANCHES))]
    assert found == [tuple(line.split("@", 1)) for line in BRANCHES.splitlines()]


URLS = """https://github.com/acme/one
https://github.com/acme/.github
https://github.com/acme/acme.example.io.git
git@github.com:acme/two.git
ssh://git@github.com/acme/three
"""


def test_lines_may_be_clone_urls(tmp_path):
    found = [target["repo"] for target in planned(with_list(tmp_path, URLS))]
    assert found == ["acme/one", "acme/.github", "acme/acme.example.io", "acme/two", "acme/three"]


def test_a_manifest_that_is_json_may_have_escapes_of_emoji(tmp_path):
    targets = [{"repo": "acme/one", "branch": "main", "message": "rebuild \N{ROCKET} now"}]
    (tmp_path / "m.json").write_text(json.dumps({"version": 1, "targets": targets}))
    assert "\\ud83d" in (tmp_path / "m.json").read_text()
    shell = Shell(tmp_path)
    assert shell("check", "m.json") == Exit.OK, shell.err


TWO_JOBS = {
    "a list": "      env: ['SUITES=unit', 'SUITES=e2e']",
    "a map with several": "      env: {matrix: ['A=1', 'A=2']}",
    "text": "      {env: ['A=1', 'A=2'], merge_mode: deep_merge}",
}


@pytest.mark.parametrize("form", TWO_JOBS)
def test_whatever_multiplies_jobs_is_told(tmp_path, form):
    lead = "config: |" if form == "text" else "config:"
    (tmp_path / "m.yaml").write_text(f"version: 1\ntargets:\n  - repo: acme/a\n    {lead}\n{TWO_JOBS[form]}\n")
    shell = Shell(tmp_path)
    assert shell("plan", "--offline", "m.yaml") == Exit.OK, shell.err
    assert "multipl" in shell.out + shell.err
