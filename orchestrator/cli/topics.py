"""`orchestrator help TOPIC`: what is worth knowing beside the flags, a screen each."""

from __future__ import annotations

from collections.abc import Mapping

import click

from orchestrator.cli.face import Face, verb
from orchestrator.cli.help import Formatter, argument
from orchestrator.cli.main import ALIASES, VERBS, root
from orchestrator.core.errors import Exit, UsageError, near
from orchestrator.core.frozen import Struct

EXITS: Mapping[Exit, str] = {
    Exit.OK: "Every target passed, was skipped by the manifest, or has an outcome outside `fail_on` "
    "(with --detach: was triggered).",
    Exit.FAILED: "Some target has an outcome in `fail_on`, or a report could not be written.",
    Exit.USAGE: "Wrong usage or manifest, or a secret that cannot be resolved. Nothing was sent, no run was made.",
    Exit.IN_DOUBT: "Some target is in doubt: its call may have started a build. See `orchestrator help doubts`.",
    Exit.ACCOUNT: "An account was refused, banned, out of credit or out of reach. What was not sent stays open; "
    "`resume` goes on.",
    Exit.STOPPED: "A rule stopped the run (`stop_when`, --max-fail, -x), or a person denied a wave. `resume "
    "--override-stop` goes on.",
    Exit.NOT_STARTED: "Refused to start: nothing selected, `expect` not met, another open run holds a target, a "
    "question answered no. Nothing was sent.",
    Exit.STATE: "The state cannot be used, or another process drives the run. Nothing further was sent.",
    Exit.TIMEOUT: "--timeout was over while targets were open. `resume` goes on.",
    Exit.BUG: "A bug: a short message, and the traceback in a file whose path is printed.",
    Exit.SIGINT: "Interrupted by Ctrl-C. `resume` goes on.",
    Exit.SIGTERM: "Asked to end (SIGTERM), or its terminal was closed. `resume` goes on.",
}


ROWS = "ROWS"


class Topic(Struct, frozen=True):
    """One page.

    Args:
        line: what it is about, for the list.
        text: paragraphs; indented lines stand as they are.
        rows: terms with their texts, where the paragraph ROWS stands.
    """

    line: str
    text: str
    rows: tuple[tuple[str, str], ...] = ()


TOPICS: Mapping[str, Topic] = {
    "exit-codes": Topic(
        "what the exit code of a command means",
        """\
What `run`, `resume`, `retry` and `watch` end with:

ROWS

When several apply, the first of 70, 130, 143, 7, 4, 5, 3, 8, 1, 0 is taken.

`status`, `runs`, `report`, `diff` and `why` end with 0 once they have shown something; with --exit-status as the
run did. `cancel`: 0 all has stopped, 1 some builds did not stop in the time told, 4 an account refused, 6 the run
had ended. `approve`, `pause`, `unpause`: 0 done, 6 the run has ended or that wave does not wait. `doctor`: 0, 1
when a repository would be refused, 4 when an account would. `check`: 0 or 2.
""",
        tuple((str(int(code)), text) for code, text in EXITS.items()),
    ),
    "runs": Topic(
        "how to name a run, and how to run again without triggering twice",
        """\
Wherever RUN stands, one of these does:

ROWS

Without RUN, `resume` takes the only open run, all other verbs the latest. What fits several runs is an error that
lists them.

To run again safely, name the run yourself:

  orchestrator run --run-id nightly-$(date +%F)

If that run is open, the same command goes on with it. If it has ended, it prints the report and ends with the run's
exit code. Nothing is triggered twice, from whatever process. `orchestrator resume` goes on with a run from any
directory; it needs no manifest.
""",
        (
            ("ID", "a whole id, as `orchestrator runs` lists them"),
            ("PART", "the beginning of an id, or any part that fits a single one"),
            ("latest", "the run that was made last"),
            ("@NAME", "the latest run of that name, such as @nightly"),
        ),
    ),
    "targets": Topic(
        "how to name targets, and how to choose some of them",
        """\
A target is one build that we want. Its id is ACCOUNT:REPO[@BRANCH][[MATRIX]][#NAME], as reports have it.

For `why` and `status` the id, REPO@BRANCH or REPO is enough, as long as it fits one target.

--only, --exclude and --label choose among the targets of a manifest or of a run. In a glob * stops at a slash, **
does not:

  orchestrator plan --only 'acme/*' --exclude 'acme/old-*'
  orchestrator run --label core,linux --label urgent

The labels of one --label must all be there; of several --label one is enough. --first N takes the first N of what
is left.
""",
    ),
    "limits": Topic(
        "why a run is not faster, and what to do about it",
        """\
A provider allows so many calls in a period. The program keeps that rule before the provider has to enforce it, so
that no token is ever banned. `orchestrator plan` names the rule that decides how long a run takes; `orchestrator
why TARGET` names the one that a target waits for.

What you may set:

ROWS

Two runs that share a state share the limits of a token. What the server says of its limits is learnt as the run
goes on; a limit that you wrote is never exceeded.
""",
        (
            ("-j N", "at most N builds of this run queued or running at once: spares other people's queue"),
            ("--rate 40/30s", "triggers for each period, in place of the manifest's; upwards too, with a warning"),
            ("limits:", "in the manifest, for each account: triggers, calls, in_flight, quiet hours"),
        ),
    ),
    "doubts": Topic(
        "what `in doubt` means, and how to settle it",
        """\
A target is in doubt when the answer to its trigger was lost: a build may exist, or not. It is never simply asked
again. The program looks for the request by the marker that each trigger carries; only what cannot be settled so
ends in doubt (exit 3).

`orchestrator why TARGET` shows what was sent when, and the builds that may be its own. Then:

ROWS

Or start it in a new run: `orchestrator retry RUN --outcome in_doubt` looks for the old marker once more before it
triggers.
""",
        (
            ("orchestrator resume RUN", "looks it up again; often that is all"),
            ("... --adopt-request TARGET=ID", "you see our marker at the provider: that is its request"),
            ("... --assume-absent TARGET", "you looked, and there is no build: it is triggered again"),
        ),
    ),
    "rollouts": Topic(
        "waves, canaries, stops and approvals",
        """\
`rollout:` in a manifest spreads a run over waves; each opens when the verdict on the one before allows it:

  rollout:
    waves: [1, 10%, 50%, 100%]
    stop_when: {failed: 20%, after: 10}

`orchestrator plan` shows the waves and what opens each. While it goes on:

ROWS

A run that a rule stopped (exit 5) triggers nothing more; its builds are followed. `orchestrator status RUN` says
which rule, with the arithmetic.
""",
        (
            (
                "approve RUN",
                "lets the wave open that waits for a person (`approve: true`); --deny stops the run instead",
            ),
            ("pause RUN", "holds triggers, reruns and waves; unpause RUN lets them go on"),
            ("resume RUN --override-stop", "goes on although a rule stopped it"),
            ("cancel RUN", "cancels exactly the builds that the run started"),
        ),
    ),
    "secrets": Topic(
        "where tokens come from, and where they never go",
        """\
A manifest names where a token stands, never the token itself:

ROWS

`orchestrator check` and `plan --offline` resolve none. A token goes only to the host of its provider; to another
one only after `plan` has shown it. It is never written to logs, reports, the state, or a command line. In CI give
it as a masked variable; in cron as a file of mode 0600.
""",
        (
            ("token: env:NAME", "a variable of the environment"),
            ("token: file:PATH", "a file, relative to the manifest"),
            ("token: command:ARGV", "what a program prints; `plan` names it, and a terminal is asked first"),
        ),
    ),
    "rehearsals": Topic(
        "how to try all of it without a provider",
        """\
--sandbox runs the very manifest against a look-alike of each provider, on this machine, with a state of its own. No
token is needed and nothing leaves the machine.

  orchestrator run --sandbox
  orchestrator run --sandbox --sandbox-fails 'acme/lib' --sandbox-slow 'acme/*=10m'

The verbs that look at such a run need --sandbox, too; the lines that a report advises have it. `orchestrator
sandbox` serves a look-alike to other programs.
""",
    ),
    "reports": Topic(
        "which formats there are, and who reads them",
        """\
A report can be made at any time, also later, of any run:

  orchestrator run -o html=out/report.html -o junit=out/junit.xml
  orchestrator report latest -o json
  orchestrator report latest -o list | orchestrator run --like latest --from -

-o may be repeated; without =FILE it replaces the text on stdout. The report is written on stdout, the log and the
live view on stderr. Programs read `-o json`: lines of text may change from version to version, fields of JSON are
only added.
""",
    ),
    "environment": Topic(
        "which variables are read",
        """\
Each flag whose help says `env:` may be given as that variable; what is typed wins. A verb ignores the variables of
flags that it lacks. Beside them:

ROWS
""",
        (
            ("NO_COLOR", "no colours"),
            ("CI", "no questions, no screen that is redrawn"),
            ("HTTPS_PROXY, NO_PROXY", "the way to providers"),
            ("SSL_CERT_FILE", "the authorities to trust"),
            ("XDG_STATE_HOME", "runs are remembered in `orchestrator` below it; ~/.local/state otherwise"),
            ("GITHUB_STEP_SUMMARY", "a Markdown report is added to that file"),
            ("ORCHESTRATOR_PARAM_NAME", "the parameter NAME of the manifest, in lower case"),
        ),
    ),
    "completion": Topic(
        "how to make the shell complete verbs, flags, runs and targets",
        """\
bash, in ~/.bashrc:

  eval "$(orchestrator completion bash)"

zsh, in ~/.zshrc, below compinit:

  eval "$(orchestrator completion zsh)"

fish, once:

  orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish

What is offered comes from the state and from the manifest of this directory; nobody is asked, and no secret is read.
""",
    ),
}


def written(name: str, formatter: Formatter) -> str:
    """A topic as text."""
    topic = TOPICS[name]
    formatter.write_text(f"{name}: {topic.line}")
    for paragraph in topic.text.strip("\n").split("\n\n"):
        formatter.write("\n")
        if paragraph == ROWS:
            with formatter.indentation():
                formatter.write_dl(topic.rows)
        elif paragraph.startswith(" "):
            formatter.write(f"{paragraph}\n")
        else:
            formatter.write_text(" ".join(paragraph.split()))
    return formatter.getvalue().rstrip("\n")


def listed(formatter: Formatter) -> str:
    """The topics, and where the rest is."""
    with formatter.section("Topics"):
        formatter.write_dl([(name, topic.line) for name, topic in TOPICS.items()])
    formatter.write_paragraph()
    formatter.write_text("`orchestrator help TOPIC` shows one, `orchestrator VERB --help` the flags of a verb.")
    return formatter.getvalue().rstrip("\n")


@verb(
    argument("topic", "topics", required=False),
    examples=(
        ("which topics there are", "orchestrator help"),
        ("what an exit code means", "orchestrator help exit-codes"),
    ),
    formats=(),
)
def help_(face: Face, topic: str | None) -> None:
    """Tell about TOPIC (exit-codes, limits, doubts, ...), or show the help of a verb; without TOPIC list the topics."""
    if topic is None:
        face.tell(listed(Formatter()))
    elif topic in TOPICS:
        face.tell(written(topic, Formatter()))
    elif topic in VERBS or topic in ALIASES:
        above = click.get_current_context().find_root()
        command = root.get_command(above, topic)
        assert command is not None  # noqa: S101  # it is in the table
        face.tell(command.get_help(command.context_class(command, parent=above, info_name=topic)))
    else:
        raise UsageError(f"help: there is no topic {topic!r}; {near(topic, [*TOPICS, *VERBS])}")
