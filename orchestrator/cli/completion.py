"""`orchestrator completion bash|zsh|fish`: the shell's part, and the answers that it asks for while somebody types.

The shell hands over the line up to the cursor. An answer is a line for each word: its kind, the word, a word of help,
with tabs between them. Kinds are `word`, `part` (more follows, so no space) and `file` (the shell knows best).
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping

import click
from click.shell_completion import ShellComplete, split_arg_string

from orchestrator.cli.complete import FILE, PART, WORD
from orchestrator.cli.face import Face, verb
from orchestrator.cli.main import COMPLETES, Machine, root
from orchestrator.report.words import plain

CPU_SECONDS, SECONDS = 2.0, 10.0  # after which nothing is offered rather than late; the latter by the clock on the wall
ENDS_A_WORD = "\"'><=;|&(:@"  # for bash's readline, unless it says otherwise
NEEDS_QUOTES = re.compile(r"([^\w@%+=:,./~^{}-])")

SCRIPTS: Mapping[str, str] = {
    "bash": """\
_orchestrator_completion() {
    local kind word help
    COMPREPLY=()
    while IFS=$'\\t' read -r kind word help; do
        case $kind in
            file) compopt -o default 2>/dev/null; COMPREPLY=(); return ;;
            part) compopt -o nospace 2>/dev/null ;;
        esac
        COMPREPLY+=("$word")
    done < <(VARIABLE=bash LINE="${COMP_LINE:0:COMP_POINT}" BREAKS="$COMP_WORDBREAKS" orchestrator 2>/dev/null)
}
complete -o nosort -F _orchestrator_completion orchestrator 2>/dev/null ||
    complete -F _orchestrator_completion orchestrator
""",
    "zsh": """\
#compdef orchestrator
_orchestrator() {
    local kind word help width=0
    local -a words_ parts shown offered
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    while IFS=$'\\t' read -r kind word help; do
        case $kind in
            file) _files; return ;;
            part) parts+=("$word") ;;
            *) words_+=("$word"); offered+=("$help"); (( $#word > width )) && width=$#word ;;
        esac
    done < <(VARIABLE=zsh LINE="$line" orchestrator 2>/dev/null)
    local i
    for (( i = 1; i <= $#words_; i++ )); do
        shown+=("${(r:width:)words_[i]}${offered[i]:+  -- $offered[i]}")
    done
    (( $#parts )) && compadd -S '' -a parts
    (( $#words_ )) && compadd -l -V orchestrator -d shown -a words_
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _orchestrator "$@"
else
    compdef _orchestrator orchestrator
fi
""",
    "fish": """\
function __orchestrator_complete
    set -l line (commandline -cp)
    VARIABLE=fish LINE="$line" orchestrator 2>/dev/null | while read -l -d \\t kind word help
        switch $kind
            case file
                __fish_complete_path (commandline -ct)
            case '*'
                printf '%s\\t%s\\n' $word $help
        end
    end
end
complete --command orchestrator --no-files --keep-order --arguments '(__orchestrator_complete)'
""",
}
LINE, BREAKS = f"{COMPLETES}_LINE", f"{COMPLETES}_BREAKS"


def script(shell: str) -> str:
    """What a shell runs to complete our command lines."""
    text = SCRIPTS[shell]
    return text.replace("VARIABLE=", f"{COMPLETES}=").replace(" LINE=", f" {LINE}=").replace(" BREAKS=", f" {BREAKS}=")


@verb(
    click.argument("shell", type=click.Choice(tuple(SCRIPTS))),
    formats=(),
    examples=(
        ("bash, a line of ~/.bashrc", 'eval "$(orchestrator completion bash)"'),
        ("zsh, a line of ~/.zshrc below compinit", 'eval "$(orchestrator completion zsh)"'),
        ("fish, once", "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish"),
    ),
)
def completion(face: Face, shell: str) -> None:
    """Print what makes SHELL complete verbs, flags, runs, formats, outcomes, accounts and targets."""
    face.tell(script(shell).rstrip("\n"))


def answer(machine: Machine, shell: str, *, in_time: bool) -> int:
    """Writes what may stand at the end of the line that the shell hands over.

    Args:
        in_time: whether the process ends when it has had its time, whatever it is at.
    """
    if in_time and hasattr(signal, "setitimer"):
        clocks = ((signal.ITIMER_PROF, signal.SIGPROF, CPU_SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, SECONDS))
        for timer, number, seconds in clocks:
            signal.signal(number, lambda *_: os._exit(0))
            signal.setitimer(timer, seconds)
    line = machine.environ.get(LINE, "")
    breaks = machine.environ.get(BREAKS, ENDS_A_WORD) if shell == "bash" else ""
    sys.stdout.write("".join(f"{one}\n" for one in answers(machine, line, shell, breaks)))
    return 0


def answers(machine: Machine, line: str, shell: str, breaks: str) -> Iterator[str]:
    """The answer's lines.

    Args:
        line: up to the cursor.
        breaks: at which characters the shell ends a word; what stands before the last of them is not to be repeated.
    """
    words = split_arg_string(line)
    is_begun = bool(line) and not line[-1].isspace()
    raw = line[_start_of_last(line) :] if is_begun else ""
    begun = words.pop() if is_begun and words else ""
    found = ShellComplete(root, {"obj": machine}, "orchestrator", COMPLETES).get_completions(words[1:], begun)
    flag = begun[: begun.index("=") + 1] if begun.startswith("--") and "=" in begun else ""
    is_quoted = raw[:1] in ("'", '"')
    kept = 0 if is_quoted else max((begun.rfind(mark) + 1 for mark in breaks), default=0)
    for one in found:
        word = plain(flag + str(one.value))
        if one.type == FILE:
            yield f"{FILE}\t"
        elif word.startswith(begun):
            shown = word[kept:]
            if shell == "bash" and not is_quoted:
                shown = NEEDS_QUOTES.sub(r"\\\1", shown)
            yield f"{PART if one.type == PART else WORD}\t{shown}\t{plain(one.help or '')[:60]}"


def _start_of_last(line: str) -> int:
    """Where the word begins that the line ends with."""
    quote, start, is_escaped = "", 0, False
    for at, mark in enumerate(line):
        if is_escaped:
            is_escaped = False
        elif mark == "\\" and quote != "'":
            is_escaped = True
        elif quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        elif mark.isspace():
            start = at + 1
    return start
