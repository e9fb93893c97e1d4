"""What a person types and what comes back: usage, validation, plans, and where everything is printed."""

import gc
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cli_machine import ENVIRON, Program

from orchestrator import __version__
from orchestrator.app.plan import Choices
from orchestrator.cli.flags import Flags, Output, declared
from orchestrator.cli.main import ALIASES, VERBS
from orchestrator.core.errors import Exit
from orchestrator.core.options import Options, RunOptions

MANIFEST = """\
version: 1
name: nightly
params: {image: {default: "ubuntu:24.04"}}
providers:
  travis: {type: travis, token: env:TRAVIS_TOKEN, limits: {triggers: 40/30s}}
defaults: {branches: [main], message: "on ${{ params.image }}"}
targets:
  - acme/widget
  - {repo: acme/api, needs: [acme/widget], labels: [core]}
  - {repo: acme/legacy, skip: frozen}
"""


@pytest.fixture
def program(tmp_path, capsys):
    made = Program(tmp_path, capsys)
    made.write("orchestrator.yaml", MANIFEST)
    return made


def python(*words, **more):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, env=ENVIRON, **more)


def test_the_version_is_answered_before_click_is_imported():
    code = "import sys\nfrom orchestrator.__main__ import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
    done = python("-c", code + "print('click' in sys.modules)")
    assert done.stdout == f"orchestrator {__version__}\nFalse\n"


@pytest.mark.parametrize(
    ("words", "foreign"),
    [
        (["--help"], {"aiohttp", "anyio", "jinja2", "pydantic", "rich", "structlog", "yaml"}),
        (
            ["check"],
            {"aiohttp", "anyio", "jinja2", "rich", "structlog", "orchestrator.journal", "orchestrator.report.view"},
        ),
    ],
)
def test_help_and_check_import_only_what_they_need(words, foreign, program):
    code = (
        f"import sys\nfrom orchestrator.cli.main import run\nrun({words!r})\n"
        f"print(sorted({foreign!r} & set(sys.modules)))"
    )
    assert python("-c", code, cwd=program.folder).stdout.splitlines()[-1] == "[]"


def test_the_collector_is_off_while_a_process_of_ours_imports_its_verb_and_on_afterwards(program):
    code = "import gc\nfrom orchestrator.__main__ import main\ntry: main(['check'])\nexcept SystemExit: pass\n"
    done = python("-c", code + "print(gc.isenabled(), gc.get_freeze_count() > 10_000)", cwd=program.folder)
    assert done.stdout.splitlines()[-1] == "True True"


def test_http_is_loaded_without_authorities_and_a_context_of_ours_has_them_all():
    code = (
        "import ssl\nfrom orchestrator.cli.main import _load\nmade = ssl.create_default_context\n"
        "_load(['run', '--sandbox'])\nfrom aiohttp import connector\n"
        "from orchestrator.providers.kit.transport import _trust\n"
        "print(ssl.create_default_context is made, connector._SSL_CONTEXT_VERIFIED.get_ca_certs(),"
        " _trust(None).get_ca_certs() == made().get_ca_certs())"
    )
    assert python("-c", code).stdout == "True [] True\n"


def test_a_process_of_others_keeps_its_collector_as_it_is(program):
    frozen = gc.get_freeze_count()
    assert program("check") == 0
    assert gc.get_freeze_count() == frozen


def test_help_names_every_verb(program):
    assert program("--help") == 0
    assert all(f"  {verb} " in program.out for verb in VERBS)


@pytest.mark.parametrize("verb", [*VERBS, *ALIASES])
def test_every_verb_tells_its_usage_and_takes_the_flags_of_every_verb(verb, program):
    assert program(verb, "--help") == 0
    assert f"orchestrator {verb}" in program.out
    flags = "--state s --yes -q -v --log-format json --no-color --sandbox"
    assert program(verb, *flags.split(), "--help") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chek"], "did you mean `check`?"),
        (["run", "--rate", "fast"], "40/30s"),
        (["run", "--max-fail", "many"], "20%"),
        (["run", "--timeout", "soon"], "2h"),
        (["run", "--fail-on", "broken"], "'broken' is no outcome"),
        (["run", "--fail-on", "in_doubt"], "exit code of its own"),
        (["run", "--run-id", "a/b"], "64 of A-Z"),
        (["run", "-o", "pdf"], "there is no such report"),
        (["report", "-o", "json", "-o", "csv"], "only one format can go to stdout"),
        (["run", "--repo", "acme/x", "--from", "f"], "one or the other"),
        (["run", "--adopt"], "--run-id"),
        (["plan", "-p", "image"], "K=V"),
        (["plan", "-p", "nope=1", "--offline"], "nope"),
        (["check", "missing.yaml"], "missing.yaml: cannot be read"),
        (["status"], "no runs yet"),
        (["cancel"], "say which run"),
        (["why", "a", "b", "c"], "[RUN] TARGET"),
        (["run"], "TRAVIS_TOKEN"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_do(words, said, program):
    assert program(*words) == Exit.USAGE
    assert said in program.err
    assert program.out == ""
    assert "Traceback" not in program.err


def test_no_manifest_is_told_with_a_remedy(program):
    (program.folder / "orchestrator.yaml").unlink()
    assert program("check") == Exit.USAGE
    assert "`orchestrator init` writes one" in program.err


@pytest.mark.parametrize("verb", ["check", "validate"])
def test_a_good_manifest_is_fine(verb, program):
    assert program(verb) == 0
    assert program.out == "orchestrator.yaml: fine, 3 targets\n"
    assert program(verb, "-q") == 0
    assert program.out == program.err == ""


def test_all_problems_are_told_at_once_with_their_places(program):
    program.write(
        "bad.yaml", "version: 1\ntargets:\n  - {repo: a/b, branchs: [main]}\n  - {repo: a/c, branches: [1.10]}\n"
    )
    assert program("check", "bad.yaml") == Exit.USAGE
    assert "bad.yaml:3:" in program.err
    assert "did you mean `branches`?" in program.err
    assert "bad.yaml:4:" in program.err
    assert "quote it" in program.err
    assert program("check", "bad.yaml", "-o", "json") == Exit.USAGE
    assert [problem["where"].split(":")[1] for problem in program.json["problems"]] == ["3", "4"]


def test_a_manifest_may_come_from_stdin(program):
    done = python("-m", "orchestrator", "check", "-", input=MANIFEST, cwd=program.folder)
    assert (done.returncode, done.stdout) == (0, "-: fine, 3 targets\n")


def test_init_writes_what_check_accepts_and_overwrites_nothing(program):
    assert program("init", "new") == 0
    assert program("check", "new/orchestrator.yaml") == 0
    before = (program.folder / "new/orchestrator.yaml").read_bytes()
    assert program("init", "new") == Exit.USAGE
    assert (program.folder / "new/orchestrator.yaml").read_bytes() == before


def test_the_schema_is_json_schema(program):
    assert program("schema") == 0
    assert program.json["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_plan_says_what_is_sent_how_long_it_takes_and_what_to_look_out_for(program):
    assert program("plan", "--offline") == 0
    for said in (
        "3 targets",
        "1 skipped",
        "forecast:",
        "triggers 40/30s",
        "needs travis:acme/widget@main",
        "in_flight",
    ):
        assert said in program.out


def test_a_plan_as_json_holds_the_filled_requests(program):
    assert program("plan", "--offline", "-o", "json", "-p", "image=debian:12", "--only", "acme/api") == 0
    assert [target["id"] for target in program.json["targets"]] == ["travis:acme/api@main"]
    assert program.json["targets"][0]["request"]["message"] == "on debian:12"
    assert program.json["accounts"]["travis"]["token"] == "env:TRAVIS_TOKEN"


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["--label", "core"], ["api"]),
        (["--label", "core,api"], []),
        (["--label", "none", "--label", "core"], ["api"]),
        (["--exclude", "acme/l*", "--first", "1"], ["widget"]),
    ],
)
def test_flags_choose_targets(words, chosen, program):
    code = program("plan", "--offline", "-o", "json", *words)
    assert code == (Exit.OK if chosen else Exit.NOT_STARTED)
    assert [target["repo"] for target in (program.json["targets"] if chosen else [])] == [f"acme/{x}" for x in chosen]


def test_one_is_said_in_the_singular(program):
    program("plan", "--offline", "--only", "acme/api")
    assert "1 target in 1 repository: acme 1\n" in program.out


def test_parameters_may_come_from_the_environment_and_flags_win(program):
    program.environ["ORCHESTRATOR_PARAM_IMAGE"] = "alpine:3"
    program("plan", "--offline", "-o", "json")
    assert program.json["params"] == {"image": "alpine:3"}
    program("plan", "--offline", "-o", "json", "-p", "image=debian:12")
    assert program.json["params"] == {"image": "debian:12"}


ODD = 'it\'s "quoted" $HOME `id` 100% \\ünï; & \ntwo\ttabs'


def test_curl_lines_survive_a_shell(program):
    """The shell hands curl exactly the words that we meant; the token is expanded by the shell, not by us."""
    text = (
        f"version: 1\ntargets:\n  - {{repo: acme/x, branch: 'a#b/ü', message: {json.dumps(ODD)}, env: {{A: 'b c'}}}}\n"
    )
    program.write("odd.yaml", text)
    assert program("plan", "odd.yaml", "--offline", "-o", "curl") == 0
    script = 'curl() { for word; do printf "%s\\0" "$word"; done; }\n' + program.out
    done = subprocess.run(["sh", "-c", script], capture_output=True, env={"TRAVIS_TOKEN": "s3cret"}, check=True)
    words = done.stdout.decode().split("\0")
    request = json.loads(words[words.index("--data-binary") + 1])["request"]
    assert request["message"] == ODD
    assert request["branch"] == "a#b/ü"
    assert "Authorization: token s3cret" in words
    assert words[-2] == "https://api.travis-ci.com/repo/acme%2Fx/requests"


def test_curl_names_the_variable_of_the_token_and_never_its_value(program):
    program.environ["TRAVIS_TOKEN"] = "v3ry-secret-indeed"
    assert program("plan", "-o", "curl", "--offline") == 0
    assert '"$TRAVIS_TOKEN"' in program.out
    assert "v3ry" not in program.out + program.err
    assert program.out.splitlines()[-1].startswith("# travis:acme/legacy@main is skipped")


def test_a_dry_run_is_a_plan_and_makes_no_state(program):
    assert program("run", "-n", "--repo", "acme/x@main", "--sandbox") == 0
    assert "1 target" in program.out
    assert not (program.folder / ".local").exists()


def test_nothing_selected_refuses_to_start(program):
    assert program("plan", "--offline", "--only", "other/*") == Exit.NOT_STARTED
    assert "--only other/*" in program.err


def test_the_state_is_one_place_for_the_user(program):
    program("runs", "--prune", "1d")
    made = program.folder / ".local/state/orchestrator/state.db"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    program.environ["XDG_STATE_HOME"] = str(program.folder / "xdg")
    program("runs", "--prune", "1d")
    assert (program.folder / "xdg/orchestrator/state.db").exists()


def test_a_state_that_cannot_be_used_exits_7(program):
    program.write("s/state.db", "this is no database, whatever its name says" * 100)
    assert program("runs", "--state", "s") == Exit.STATE
    assert "state.db" in program.err
    assert "Traceback" not in program.err


def test_a_bug_exits_70_and_keeps_a_private_redacted_traceback(program, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def broken(context, *words, **more):
        context.redactor.add("s3cret-t0ken")
        raise RuntimeError("Authorization: token s3cret-t0ken")

    monkeypatch.setattr("orchestrator.app.runs.runs", broken)
    assert program("runs") == Exit.BUG
    assert "this is a bug" in program.err
    kept = next(tmp_path.glob("orchestrator-bug-*.txt"))
    assert str(kept) in program.err
    assert "Traceback" in kept.read_text()
    assert "s3cret" not in kept.read_text() + program.err
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_flag_goes_to_the_use_cases_unless_it_is_for_the_terminal_alone():
    """A flag whose name no option of a run or plan has would be taken and forgotten."""
    of_the_face = {"state", "rate", "fail_fast", "output", "yes", "quiet", "verbose", "log_format", "no_color"}
    of_a_rehearsal = {"sandbox_fails", "sandbox_flakes", "sandbox_slow", "sandbox_log"}  # one value together
    assert set(declared()) - set(Choices.__struct_fields__) == of_the_face | of_a_rehearsal
    told = Flags(sandbox=True, sandbox_fails=("acme/a",)).choices(Path("/here")).rehearsal
    assert told.fails == ("acme/a",)
    given = Flags(only=("a/*",), in_flight=3, timeout=9.0, fail_fast=True, output=(Output("json", "r.json"),))
    chosen = given.choices(Path("/here"))
    assert (chosen.only, chosen.in_flight, chosen.timeout, chosen.max_fail) == (("a/*",), 3, 9.0, "1")
    assert chosen.reports == {"/here/r.json": "json"}
    assert Options.over(RunOptions(in_flight=5, max_fail="20%"), Choices(in_flight=3)).max_fail == "20%"
    assert Options.over(RunOptions(in_flight=5), Choices(in_flight=3)).in_flight == 3
