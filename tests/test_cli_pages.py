"""`docs/reference/cli.md` and `docs/orchestrator.1` are what the code declares.

`python tests/test_cli_pages.py` writes them.
"""

import re
from pathlib import Path

import click
import pytest

from orchestrator.cli.flags import TypeOption
from orchestrator.cli.help import by_group
from orchestrator.cli.main import ALIASES, STAGES, VERBS, root
from orchestrator.cli.topics import EXITS, ROWS, TOPICS
from orchestrator.providers.registry import PROVIDERS

DOCS = Path(__file__).parent.parent / "docs"
PAGE, MAN = DOCS / "reference" / "cli.md", DOCS / "orchestrator.1"
WRITES = "python tests/test_cli_pages.py writes it"


def command(verb):
    found = root.get_command(click.Context(root), verb)
    assert found is not None
    return found


def usage(verb):
    return " ".join(["orchestrator", verb, *command(verb).collect_usage_pieces(click.Context(command(verb)))])


def told(option):
    """What an option does; of `--type`, with the providers that come with the package, whatever else is installed."""
    if isinstance(option, TypeOption):
        return f"The provider: {', '.join(PROVIDERS)}."
    return option.help or ""


def spelt(option):
    names = ", ".join(sorted(option.opts, key=len))
    return names if option.is_flag or option.count else f"{names} {option.make_metavar(click.Context(root))}"


def paragraphs(text):
    return [" ".join(one.split()) for one in (text or "").split("\n\n")]


def groups(verb):
    """The verb's options by group, as values: how it is written, what it does, default, variable."""
    for group, options in by_group(command(verb).params).items():
        yield group, [(spelt(one), told(one), one.standard, one.envvar or "") for one in options]


# -- Markdown ---------------------------------------------------------------------------------------------------


def cell(text):
    return text.replace("|", "\\|")


def code(text):
    return f"`{cell(text)}`" if text else ""


def page():
    return "\n".join([*opening(), *(line for verb in VERBS for line in section(verb)), *topics()]) + "\n"


def opening():
    yield "# Command line"
    yield ""
    yield "Made from the code, as `--help` is. [flags.md](flags.md) has the other view: the verbs that take a flag."
    yield ""
    yield "```"
    yield "orchestrator VERB ..."
    yield "```"
    for stage, verbs in STAGES.items():
        yield from ("", f"**{stage}**", "", "| | |", "|---|---|")
        yield from (f"| [`{verb}`](#{verb}) | {VERBS[verb][1]} |" for verb in verbs)
    same = ", ".join(f"`{alias}` is `{verb}`" for alias, verb in ALIASES.items())
    yield from ("", f"{same}. Topics: " + ", ".join(f"[{name}](#help-{name})" for name in TOPICS) + ".")


def section(verb):
    yield from ("", f"## {verb}", "", "```", usage(verb), "```")
    for paragraph in paragraphs(command(verb).help):
        yield from ("", paragraph)
    for group, options in groups(verb):
        yield from ("", f"**{group}**", "", "| Option | | Default | Variable |", "|---|---|---|---|")
        for names, text, default, variable in options:
            yield f"| {code(names)} | {cell(text)} | {cell(default)} | {code(variable)} |"
    for title, rows in command(verb).terms:
        yield from ("", f"**{title}**", "", "| | |", "|---|---|")
        yield from (f"| `{term}` | {cell(text)} |" for term, text in rows)
    yield from ("", "**Examples**", "", "```sh")
    yield from (f"{line}   # {what}" for what, line in command(verb).examples)
    yield "```"


def topics():
    for name, topic in TOPICS.items():
        yield from ("", f"## help {name}", "", f"*{topic.line[0].upper()}{topic.line[1:]}.*")
        for paragraph in topic.text.strip("\n").split("\n\n"):
            yield ""
            if paragraph == ROWS:
                yield from ("| | |", "|---|---|")
                yield from (f"| {code(term)} | {cell(text)} |" for term, text in topic.rows)
            elif paragraph.startswith(" "):
                yield from ("```", *(line.removeprefix("  ") for line in paragraph.splitlines()), "```")
            else:
                yield " ".join(paragraph.split())


# -- the page of the manual ---------------------------------------------------------------------------------------


def roff(text):
    """Text for troff: nothing of it is taken for a request, an escape or a dash that cannot be copied."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga"), flags=re.M)


def bold(text):
    return rf"\fB{roff(text)}\fR"


def manual():
    lines = [
        f'.\\" {WRITES}',
        '.TH ORCHESTRATOR 1 "" "batch-trigger-orchestrator" "User commands"',
        ".SH NAME",
        r"orchestrator \- start CI builds in many repositories: never twice, never lost, never banned",
        ".SH SYNOPSIS",
        f"{bold('orchestrator')} \\fIVERB\\fR ...",
        ".SH DESCRIPTION",
        "A manifest names repositories; a run triggers a build in each, follows them and reports. The verbs:",
    ]
    for stage, verbs in STAGES.items():
        lines.append(f".SS {roff(stage)}")
        for verb in verbs:
            lines += [".TP", bold(verb), roff(VERBS[verb][1])]
    lines.append(".SH VERBS")
    for verb in VERBS:
        lines += [f".SS {roff(usage(verb))}"]
        for paragraph in paragraphs(command(verb).help):
            lines += [roff(paragraph), ".PP"]
        lines.pop()
        for group, options in groups(verb):
            lines += [".PP", f"\\fI{roff(group)}\\fR"]
            for names, text, default, variable in options:
                facts = "; ".join([f"default: {default}"] * bool(default) + [f"env: {variable}"] * bool(variable))
                lines += [".TP", bold(names), roff(f"{text} [{facts}]" if facts else text)]
        lines += [".PP", r"\fIExamples\fR"]
        for what, line in command(verb).examples:
            lines += [".PP", f"{roff(what[0].upper() + what[1:])}:", ".PP", ".RS", ".nf", bold(line), ".fi", ".RE"]
    lines.append(".SH EXIT STATUS")
    for number, text in EXITS.items():
        lines += [".TP", bold(str(int(number))), roff(text)]
    for name, topic in TOPICS.items():
        if name != "exit-codes":
            lines += [f".SH {roff(name.upper())}", *manual_topic(topic)]
    lines += [".SH SEE ALSO", roff("orchestrator help TOPIC, orchestrator VERB --help, and docs/ of the source.")]
    return "\n".join(lines) + "\n"


def manual_topic(topic):
    for number, paragraph in enumerate(topic.text.strip("\n").split("\n\n")):
        if number and paragraph != ROWS:
            yield ".PP"
        if paragraph == ROWS:
            yield from (line for term, text in topic.rows for line in (".TP", bold(term), roff(text)))
        elif paragraph.startswith(" "):
            yield from (".RS", ".nf", *(bold(line.strip()) for line in paragraph.splitlines()), ".fi", ".RE")
        else:
            yield roff(" ".join(paragraph.split()))


def test_the_reference_is_what_the_code_declares():
    assert PAGE.read_text(encoding="utf-8") == page(), WRITES


def test_the_manual_is_what_the_code_declares():
    assert MAN.read_text(encoding="utf-8") == manual(), WRITES


@pytest.mark.parametrize("exit_code", EXITS)
def test_both_name_every_exit_code(exit_code):
    assert f"| `{int(exit_code)}` |" in page()
    assert f"\\fB{int(exit_code)}\\fR" in manual()


def test_links_of_the_reference_lead_somewhere():
    heads = [line.lstrip("# ") for line in page().splitlines() if line.startswith("#")]
    anchors = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
    assert set(re.findall(r"\]\(#([^)]*)\)", page())) <= anchors


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    MAN.write_text(manual(), encoding="utf-8")
