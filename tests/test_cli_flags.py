"""Which verb acts on which flag: declared once, refused elsewhere, and said so in docs/reference/flags.md.

`python tests/test_cli_flags.py` writes that page.
"""

from pathlib import Path

import click
import pytest
from cli_machine import Program

from orchestrator.cli.flags import ALWAYS, declared
from orchestrator.cli.main import ALIASES, VERBS, root
from orchestrator.core.errors import Exit

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "flags.md"
SELECT = {"only", "exclude", "label", "first"}
PACE = {"in_flight", "ignore_quiet_hours", "rate"}
ENDS = {"max_fail", "fail_fast", "timeout", "fail_on", "notify", "metrics_file"}
REHEARSE = {"sandbox_fails", "sandbox_flakes", "sandbox_slow", "sandbox_log"}
ACTS = {  # beside the flags of every verb
    "init": set(),
    "check": {"params", "output", *SELECT},
    "schema": {"output"},
    "plan": {"params", "output", *SELECT, *PACE},
    "run": {"params", "output", *SELECT, *PACE, *ENDS, *REHEARSE},
    "watch": {"output"},
    "status": {"output", *SELECT},
    "runs": {"output"},
    "resume": {"output", *SELECT, *PACE, *ENDS},
    "retry": {"output", *SELECT, *PACE, *ENDS},
    "approve": set(),
    "pause": set(),
    "unpause": set(),
    "cancel": {"output", *SELECT},
    "report": {"output", *SELECT},
    "diff": {"output", *SELECT},
    "why": {"output"},
    "flaky": {"output"},
    "doctor": {"params", "output", *SELECT},
    "sandbox": {"output"},
    "completion": set(),
    "help": set(),
}
VALUES = {
    "params": "a=b",
    "only": "x",
    "exclude": "y",
    "label": "a,b",
    "first": "3",
    "in_flight": "4",
    "rate": "40/30s",
    "max_fail": "20%",
    "timeout": "1h",
    "fail_on": "failed",
    "notify": "env:HOOK",
    "metrics_file": "m.prom",
    "state": "s",
    "sandbox_fails": "acme/a",
    "sandbox_flakes": "acme/b",
    "sandbox_slow": "acme/*=1m",
    "sandbox_log": "acme/a=build.log",
    "output": "json",
    "log_format": "json",
}
PAIRS = [(verb, name) for verb in VERBS for name in declared()]


def command(verb):
    found = root.get_command(click.Context(root), verb)
    assert found is not None
    return found


def words(name):
    """The flag as a person types it, by each of its names."""
    return [[flag, *([VALUES[name]] if name in VALUES else [])] for flag in declared()[name].names]


@pytest.fixture
def program(tmp_path, capsys):
    return Program(tmp_path, capsys)


def test_every_verb_says_on_which_flags_it_acts():
    shared = set(declared())
    found = {verb: {option.name for option in command(verb).params} & shared for verb in VERBS}
    assert found == {verb: {*ALWAYS, *flags} for verb, flags in ACTS.items()}


@pytest.mark.parametrize(("verb", "name"), [pair for pair in PAIRS if pair[1] in {*ALWAYS, *ACTS[pair[0]]}])
def test_a_flag_on_which_a_verb_acts_is_taken_and_shown_by_its_help(verb, name, program):
    for typed in words(name):
        assert program(verb, *typed, "--help") == 0
        assert typed[0] in program.out


@pytest.mark.parametrize(("verb", "name"), [pair for pair in PAIRS if pair[1] not in {*ALWAYS, *ACTS[pair[0]]}])
def test_a_flag_on_which_a_verb_does_not_act_is_refused_with_the_verbs_that_do(verb, name, program):
    having = ", ".join(other for other in VERBS if name in ACTS[other])
    for typed in words(name):
        assert program(verb, *typed) == Exit.USAGE
        said = f"{verb} does not act on {typed[0]}, and so does not take it; it stands on: {having}"
        assert said in " ".join(program.err.split())
        assert program.out == ""


def test_a_variable_of_a_flag_that_a_verb_lacks_is_ignored(program):
    program.environ |= {"ORCHESTRATOR_RATE": "no rate at all", "ORCHESTRATOR_TIMEOUT": "never"}
    program.write("orchestrator.yaml", "version: 1\ntargets: [acme/a]\n")
    assert program("check") == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["run", "--branch", "main"], "--repo OWNER/NAME@BRANCH"),
        (["run", "--concurrency", "4"], "-j N"),
        (["resume", "r1", "--overlap", "allow"], "it stands on: run"),
        (["cancel", "r1", "-n"], "it stands on: run"),
        (["run", "--json"], "-o json"),
        (["run", "-f", "x.yaml"], "the manifest is an argument"),
        (["run", "--onyl", "x"], "did you mean --only?"),
        (["run", "--xyzzy"], "orchestrator run --help"),
    ],
)
def test_a_wrong_guess_is_answered_with_what_it_is_called_here(typed, said, program):
    assert program(*typed) == Exit.USAGE
    assert said in " ".join(program.err.split())


def test_a_manifest_of_nearly_the_name_is_seen(program):
    program.write("orchestrator.yml", "version: 1\ntargets: [acme/a]\n")
    assert program("check") == Exit.USAGE
    assert "there is no orchestrator.yaml here, but there is orchestrator.yml: rename it, or name it" in program.err
    assert program("check", "orchestrator.yml") == 0


# -- the page ---------------------------------------------------------------------------------------------------


def page():
    lines = [
        "# Verbs and their flags",
        "",
        "A verb takes the flags on which it acts, and refuses the others (exit 2); the refusal names the verbs that",
        "have them. A variable of a flag that a verb lacks is ignored, so that one environment fits all verbs.",
        "",
        "On every verb: " + ", ".join(f"`{spelt(declared()[name])}`" for name in ALWAYS) + ".",
        "",
        "| Flag | Variable | Verbs | |",
        "|---|---|---|---|",
    ]
    for name, flag in declared().items():
        verbs = [verb for verb in VERBS if name not in ALWAYS and has(verb, name)]
        where = ", ".join(f"`{verb}`" for verb in verbs) or "all"
        lines.append(f"| `{spelt(flag)}` | `{flag.settings['envvar']}` | {where} | {flag.settings['help']} |")
    lines += ["", "Flags and arguments of a single verb:", "", "| Verb | | |", "|---|---|---|"]
    for verb in VERBS:
        own = [option for option in command(verb).params if option.name not in declared()]
        lines.append(f"| `{verb}` | {' '.join(map(usage, own))} | {VERBS[verb][1]} |")
    aliases = ", ".join(f"`{alias}` is `{verb}`" for alias, verb in ALIASES.items())
    return "\n".join([*lines, "", f"{aliases}. `orchestrator VERB --help` tells what each of them does.", ""])


def has(verb, name):
    return any(option.name == name for option in command(verb).params)


def spelt(flag):
    return " ".join(filter(None, [", ".join(flag.names), flag.settings["metavar"]])).replace("|", "\\|")


def usage(option):
    if isinstance(option, click.Argument):
        return f"`{option.make_metavar(click.Context(root))}`".replace("|", "\\|")
    return f"`{', '.join(option.opts)}`"


def test_the_reference_is_what_the_verbs_declare():
    assert PAGE.read_text(encoding="utf-8") == page(), "python tests/test_cli_flags.py writes it"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
