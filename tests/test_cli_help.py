"""Help that helps: options in groups with default and variable, examples that work, topics."""

import shlex

import click
import pytest
from cli_machine import Program

from orchestrator.cli.flags import declared, taken
from orchestrator.cli.help import Group, Option
from orchestrator.cli.main import STAGES, VERBS, root
from orchestrator.cli.topics import EXITS, TOPICS
from orchestrator.core.errors import Exit

WIDTHS = (40, 60, 80, 120, 200)


@pytest.fixture
def program(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    return Program(tmp_path, capsys)


def command(verb):
    found = root.get_command(click.Context(root), verb)
    assert found is not None
    return found


def too_long(text, width):
    """Lines that are wider than the terminal, but for what is never broken: commands, and what stands alone."""
    lines = [line for line in text.splitlines() if len(line) > width and len(line.split()) > 1]
    return [line for line in lines if "orchestrator " not in line and not line.strip().startswith("-")]


def test_every_verb_stands_in_help_once():
    assert sorted(name for names in STAGES.values() for name in names) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_group_its_text_and_its_variable(verb, program):
    assert program(verb, "--help") == 0
    words = " ".join(program.out.split())
    for option in command(verb).params:
        if isinstance(option, click.Option):
            assert isinstance(option, Option), option.name
            assert option.opts[-1] in program.out
            if option.envvar:
                assert f"env: {option.envvar}" in words
            if (
                option.name in declared()
                and not option.is_flag
                and not option.count
                and option.group is not (Group.REHEARSAL)
            ):
                assert option.standard, option.name


@pytest.mark.parametrize("verb", VERBS)
def test_examples_stand_last_and_are_taken(verb, program):
    """Each is parsed as a person would type it, its values too."""
    found = command(verb)
    assert found.examples
    program(verb, "--help")
    assert program.out.rstrip().endswith(found.examples[-1][1])
    for _, line in found.examples:
        assert f"  {line}\n" in program.out
        words = shlex.split(line.removeprefix('eval "$(').removesuffix(')"'))
        words = words[: next((at for at, word in enumerate(words) if word in (">", "|")), None)]
        assert words[0] == "orchestrator"
        context = command(words[1]).make_context(words[1], words[2:], parent=click.Context(root))
        taken(dict(context.params))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_keeps_the_terminals_width(verb, width, program, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert program(*[verb] * (verb is not None), "--help") == 0
    assert too_long(program.out, width) == []
    assert "\x1b" not in program.out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_a_short_page_of_the_terminals_width(topic, width, program, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert program("help", topic) == 0
    assert too_long(program.out, width) == []
    assert width < 80 or len(program.out.splitlines()) <= 40
    assert program.out.startswith(f"{topic}: ")


def test_without_a_topic_all_are_listed(program):
    assert program("help") == 0
    for name, topic in TOPICS.items():
        assert name in program.out
        assert topic.line in program.out


def test_every_exit_code_is_told(program):
    assert set(EXITS) == set(Exit)
    assert program("help", "exit-codes") == 0
    told = {line.split()[0] for line in program.out.splitlines() if line.startswith("  ") and line[2:3].isdigit()}
    assert told == {str(int(code)) for code in Exit}


@pytest.mark.parametrize("verb", ["run", "validate", "help"])
def test_help_of_a_verb_is_its_help(verb, program):
    program("check" if verb == "validate" else verb, "--help")
    there = program.out
    assert program("help", verb) == 0
    assert program.out.splitlines()[1:] == there.splitlines()[1:]


def test_a_topic_that_is_not_there_is_an_error_with_the_nearest(program):
    assert program("help", "exit-code") == Exit.USAGE
    assert "there is no topic 'exit-code'; did you mean `exit-codes`?" in program.err


def test_commands_that_topics_show_exist():
    for name, topic in TOPICS.items():
        for line in topic.text.splitlines():
            if line.startswith(("  orchestrator ", "  eval")):
                for part in line.strip().removeprefix('eval "$(').removesuffix(')"').split("|"):
                    words = shlex.split(part)
                    words = words[: words.index(">")] if ">" in words else words
                    context = command(words[1]).make_context(words[1], words[2:], parent=click.Context(root))
                    assert context.params is not None, name
