"""Why a build failed, as the end of its log says: a line of it, and a signature that the same failure has elsewhere.

Three steps: the end of the log is cleaned (colours, progress bars, markers of the service) and secrets are blotted out;
the line that says most is picked; what differs from build to build (times, hashes, paths, numbers) is taken out of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from orchestrator.core.frozen import Struct

LONGEST = 300  # characters of a line that is shown
LONGEST_SIGNATURE = 200
LONGEST_LINE = 2_000  # characters of a line that is looked at
BLOTTED = 64 * 1024  # characters of the log before and with what is kept, in which secrets are looked for
LAST_SAID = "last output: "  # before a line that nothing marks as the cause
LAST_LINES, LAST_CHARACTERS = 30, 4_000  # of the log, that are kept


class Cause(Struct, frozen=True, omit_defaults=True, gc=False):
    """What the log of a failed build says.

    Args:
        signature: the line without what differs from build to build; the same failure has the same elsewhere.
        text: the line.
        job: the number or name of the job that failed.
        exit: the code with which its command exited.
        url: a page where it is seen.
        tail: the last lines of its log.
    """

    signature: str
    text: str
    job: str = ""
    exit: int | None = None
    url: str | None = None
    tail: str = ""


def cause_in(
    printed: str, at_most: int, redact: Callable[[str], str], repo: str = "", code: int | None = None
) -> Cause | None:
    """The cause that a log shows; None where it shows nothing.

    A line that only stands last is told as such, and what says no more than that the build failed is not told at all.

    Args:
        printed: the log, or its end.
        at_most: bytes of its end that are looked at.
        redact: takes the known secrets out of a text.
        repo: the repository, whose name is no part of a signature.
        code: with which the job exited, where the service tells; None: as the log says.
    """
    lines = [line for line in cleaned(_end(printed, at_most)).split("\n") if line.strip()]
    if not lines:
        return None
    code = _exit(lines) if code is None else code
    tail = "\n".join(line[:LONGEST] for line in _shown(lines, redact)[-LAST_LINES:])[-LAST_CHARACTERS:]
    number, is_telling = _telling(lines)
    if number is None:
        exited = "it failed" if code is None else f"exited with {code}"
        text = f"{exited}, and the end of its log does not say why"
        return Cause(text, text, exit=code, tail=tail)
    line = _shown(lines[: number + 1], redact)[-1].strip()
    everywhere = _EVERYWHERE.search(line)
    text = (everywhere[0] if everywhere else line)[:LONGEST]
    said = text if is_telling else f"{LAST_SAID}{text}"[:LONGEST]
    return Cause(signature(text, repo), said, exit=code, tail=tail)


def _end(printed: str, at_most: int) -> str:
    """So many bytes of the end, from the beginning of a line: half a secret would not be recognised."""
    if len(printed) <= at_most // 4 or len(raw := printed.encode("utf-8", "replace")) <= at_most:
        return printed
    _, _, rest = raw[-at_most:].decode("utf-8", "ignore").partition("\n")
    return rest


def _shown(lines: list[str], redact: Callable[[str], str]) -> list[str]:
    """The last of these lines without secrets: what is kept is blotted, with enough before it to know a key's block."""
    first, left = len(lines), BLOTTED
    while first and left > 0:
        first -= 1
        left -= len(lines[first])
    text = blotted(redact("\n".join(map(_bounded, lines[first:]))))
    return [line for line in text.split("\n") if line.strip()]


def _bounded(line: str) -> str:
    """The line's beginning, without a word that is cut: half a secret would not be recognised."""
    return line if len(line) <= 2 * LONGEST_LINE else line[: 2 * LONGEST_LINE].rpartition(" ")[0] or BLOT


# -- cleaning ---------------------------------------------------------------------------------------------------

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[@-_]?")
_MARKERS = re.compile(r"travis_(?:fold|time):[^\r\n]*")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z ", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def cleaned(text: str) -> str:
    """The text as a terminal would have left it, without colours, stamps and markers."""
    text = _MARKERS.sub("", _ESCAPES.sub("", text))
    return _STAMP.sub("", "\n".join(_overwritten(line) for line in text.split("\n")))


def _overwritten(line: str) -> str:
    """What is left of a line of which a progress bar wrote parts again and again."""
    parts = [part for part in line.split("\r") if part.strip()]
    return _CONTROL.sub("", parts[-1]).rstrip() if parts else ""


# -- secrets ----------------------------------------------------------------------------------------------------

BLOT = "***"
_NAMED = r"(?:token|secret|passw(?:or)?d|passphrase|_pass|api[-_]?key|access[-_]?key|private[-_]?key|credentials?)"
_PEM = re.compile(r"-----BEGIN [^\n]{0,60}-----.*?(?:-----END [^\n]{0,60}-----|\Z)", re.DOTALL)
_PEM_END = re.compile(r"\A(?:(?!-----BEGIN ).)*?-----END [^\n]{0,60}-----", re.DOTALL)
_VALUE = r"(\"[^\"\n]++\"?|'[^'\n]++'?|[^\s\"',;&]++)"
_ASSIGNED = re.compile(
    rf"({_NAMED}[\w.-]{{0,30}}[\"']?\s{{0,3}}(?:=|:(?=\s{{0,3}}(?:[\"']|\S{{0,200}}\d)))\s{{0,3}}){_VALUE}",
    re.IGNORECASE,
)
_PASSWORD = re.compile(rf"((?:secret|passw(?:or)?d|passphrase)[\"']?\s{{0,3}}:\s{{1,3}}){_VALUE}", re.IGNORECASE)
_OPTION = re.compile(rf"((?:^|\s)-[^\s=]{{0,30}}{_NAMED}\s{{1,3}})(?!-)(\S{{4,}}+)", re.IGNORECASE)
_SCHEME = re.compile(r"\b(bearer|basic)(\s{1,3})[A-Za-z0-9._~+/=-]{6,}+", re.IGNORECASE)
_BEHIND = re.compile(
    r"((?:key|secret|password|token|credential)[^\n]{0,40}?)(?<![A-Za-z0-9+/_-])"
    r"((?=[A-Za-z+/_-]{0,200}\d)(?:[A-Fa-f0-9]{16,}+|[A-Za-z0-9+/_-]{20,}+={0,2}))(?![A-Za-z0-9+/_-])",
    re.IGNORECASE,
)
_SHAPES = re.compile(  # tokens that are known by how they begin
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+|gl[a-z]{2,6}-[\w-]{16,}+|npm_[A-Za-z0-9]{20,}+|"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}|xox[a-z]-[\w-]{10,}+|sk-[\w-]{16,}+|AIza[\w-]{30,}+|pypi-[\w-]{16,}+|"
    r"eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+)"
)


def blotted(text: str) -> str:
    """The text without what looks like a secret; what does not look like one cannot be known."""
    text = _PEM.sub(BLOT, _PEM_END.sub(BLOT, text) if "-----END " in text else text)
    text = _SHAPES.sub(BLOT, text)
    for pattern in (_ASSIGNED, _PASSWORD, _OPTION, _BEHIND):
        text = pattern.sub(rf"\1{BLOT}", text)
    return _SCHEME.sub(rf"\1\2{BLOT}", text)


# -- the line that says most ------------------------------------------------------------------------------------

_NOISE = re.compile(  # what follows from the failure, or happens after it
    r"exited with (?:code |status )?\d+|process completed with exit code|"
    r"returned (?:a non-zero )?(?:exit )?(?:code|status)|"
    r"^make(?:\[\d+\])?: (?:\*\*\* .*error \d+|leaving|entering)|failed with exit (?:code|status)|build step .* marked|"
    r"^finished: |npm err! (?:code|errno|syscall|a complete log|\s+/)|^npm err!\s*$|job failed: exit|cleaning up|"
    r"^(?:upload|sav|stor|cach|post job)[a-z]* |error is not recoverable|^error: (?:failed|aborting)|^\W*$|\[help \d|"
    r"^worker information$|^\$ |^\+{1,3} \S|^> \S|^##\[(?:group|endgroup|command|section)\]|^run \S|^done\b|"
    r"^=+ .* in [\d.]+s|command failed with exit|^exit code",
    re.IGNORECASE,
)
_EVERYWHERE = re.compile(  # what says it all, whichever program says it
    r"no space left on device|disk quota exceeded|out of memory\b|cannot allocate memory|oom-?killed|"
    r"network is unreachable|temporary failure in name resolution|no output has been received[\w ]*|"
    r"too many open files|read-only file system",
    re.IGNORECASE,
)
_OUTSIDE = re.compile(  # the machine, the network, the account: it hardly matters what was built
    r"\bkilled\b|could not resolve|connection (?:timed out|refused|reset)|etimedout|econnre(?:set|fused)|"
    r"certificate (?:verify|has expired)|\b(?:http|status)\D{0,12}\b[45]\d\d\b|rate limit|too ?many ?requests|"
    r"permission denied|command not found|segmentation fault|core dumped|timed out|authentication failed|"
    r"could not find a version|could not read from remote|manifest unknown",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"error|exception|fatal|panic|undefined reference|^e {2,}\S|^npm err!",
    re.IGNORECASE,
)
_OF_MAKE = re.compile(r"^make(?:\[\d+\])?: \*\*\* ")  # better than nothing: it names what was made
_SUMMARY = re.compile(r"\bfail(?:ed|ure|ures|s)?\b|\berrors?\b|✗|✖|✘|not ok", re.IGNORECASE)
_CLASSES = (_EVERYWHERE, _OUTSIDE, _ERROR, _SUMMARY)


def _telling(lines: list[str]) -> tuple[int | None, bool]:
    """The number of the line that says most, and whether it sounds like a failure at all.

    Of several of a kind it is the last one, as it is nearest to the failure. None where all lines are commands, or only
    say that the build has failed.
    """
    backwards = range(len(lines) - 1, -1, -1)
    worth = next((number for number in backwards if _is_worth(lines[number])), None)
    for pattern in _CLASSES:
        for number in backwards:
            line = lines[number][:LONGEST_LINE]
            if pattern.search(line) and _is_worth(line):
                return number, True
    made = next((number for number in backwards if _OF_MAKE.search(lines[number][:LONGEST_LINE])), None)
    return (worth, False) if made is None or worth is not None else (made, True)


def _is_worth(line: str) -> bool:
    return not _NOISE.search(line[:LONGEST_LINE].strip())


_EXIT = re.compile(
    r"exit(?:ed)?(?: with)?(?: (?:code|status))?[ :=]{1,3}(\d{1,3})\b|^make(?:\[\d+\])?: .*\berror (\d{1,3})$",
    re.IGNORECASE,
)


def _exit(lines: list[str]) -> int | None:
    """The last code above zero that a command is said to have exited with."""
    return next((code for line in reversed(lines) for code in _codes(line)), None)


def _codes(line: str) -> Iterator[int]:
    for found in _EXIT.finditer(line[:LONGEST_LINE]):
        if 0 < (code := int(found[1] or found[2])) < 256:
            yield code


# -- the signature ----------------------------------------------------------------------------------------------

_PARTS = r"[\w.@+~%{}$-]"
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_DIFFERS = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (r"(https?://[\w.-]+(?::\d+)?)[^\s\"'<>)]*", r"\1"),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?", "<time>"),
        (rf"\b(?:{_DAY},? )?{_MONTH} +\d{{1,2}}\b(?: \d{{4}}\b)?", "<time>"),
        (r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b", "<time>"),
        (rf"(?<![\w.:/])(?:[a-z]:)?(?:\.{{0,2}}[/\\]|~/)?(?:{_PARTS}+[/\\])+{_PARTS}*", "<path>"),
        (rf"(?<![\w.:/<])/{_PARTS}+", "<path>"),
        (r"\b(?:sha(?:1|256|512):)?(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,128}\b|\b0x[0-9a-f]+\b", "<hash>"),
        (r"(?<![\w<])[a-z_-]*(?:tmp|temp)[\w-]*\d[\w-]*", "<tmp>"),
        (
            r"(?<![a-z0-9<])[-+]?\d+(?:[.,:]\d+)*(?:\s?(?:ns|us|µs|ms|s|sec|seconds?|m|min|minutes?|h|[kmgt]i?b|bytes?|%)\b)?",
            "<n>",
        ),
        (r"\d+", "<n>"),
    )
)
_STATUS = re.compile(r"((?:http(?:/[\d.]+)?|status(?: code)?)[ :=]{1,3})([45]\d\d)\b", re.IGNORECASE)


def signature(line: str, repo: str = "") -> str:
    """The line without times, hashes, paths, numbers and the repository's own name."""
    text = _STATUS.sub(lambda found: found[1] + found[2].translate(_KEPT), line)
    if len(name := repo.rpartition("/")[2]) > 2:
        text = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w/])", "<repo>", text, flags=re.IGNORECASE)
    for pattern, instead in _DIFFERS:
        text = pattern.sub(instead, text)
    return " ".join(text.translate(_BACK).split())[:LONGEST_SIGNATURE]


# The digits of an HTTP status are what it says: they are hidden from the patterns as letters that no log has.
_KEPT = {ord("0") + n: 0xE000 + n for n in range(10)}
_BACK = {there: here for here, there in _KEPT.items()}
