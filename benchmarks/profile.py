"""Where the CPU of a trigger goes: `python -m benchmarks.profile [ours|bare] [asyncio|uvloop] [COUNT]`.

Samples the stack by CPU time, which costs next to nothing, so that the shares are those of an unwatched run. The
microseconds are of a trigger, from the start of the engine on; a function that collects garbage pays for everybody's.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from benchmarks import nginx, triggers
from benchmarks.child import ROOT

EVERY = 0.001  # seconds of CPU
SHOWN = 40


class Samples:
    """How often each function was on the stack, and at its top."""

    def __init__(self) -> None:
        self.top: Counter[str] = Counter()
        self.within: Counter[str] = Counter()

    def start(self) -> None:
        """From now on."""
        signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)

    def stop(self) -> None:
        """No more."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _take(self, number: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append(_name(frame.f_code))
            frame = frame.f_back
        self.top[stack[0]] += 1
        self.within.update(set(stack))

    def show(self, microseconds: float) -> None:
        """Prints both lists, as shares of so much."""
        each = microseconds / max(1, self.top.total())
        for title, counted in (("at the top of the stack", self.top), ("on the stack", self.within)):
            print(f"\n{title}:")
            for name, times in counted.most_common(SHOWN):
                print(f"{times * each:8.1f} us  {name}")


def _name(code: CodeType) -> str:
    path = code.co_filename.rpartition("site-packages/")[2].removeprefix(f"{ROOT}/")
    return f"{Path(path) if not path.startswith('/') else Path(path).name}:{code.co_qualname}"


def main(which: str = "ours", loop: str = "uvloop", count: str = "20000") -> None:
    """Runs one side of the comparison in a process of its own, against a server of its own."""
    with nginx.served() as port:
        argv = [sys.executable, "-m", "benchmarks.profile", "--in", which, str(port), count, loop]
        subprocess.run(argv, cwd=ROOT, check=True)


def sampled(which: str, port: str, count: str, loop: str) -> None:
    """Measures and shows where the time went."""
    samples = Samples()
    found = getattr(triggers, which)(port=int(port), count=int(count), loop=loop, begun=samples.start)
    samples.stop()
    each = found["work"] / int(count) * 1e6
    print(f"{which} on {loop}: {int(count) / found['seconds']:,.0f} a second, {each:.0f} us of CPU each")
    samples.show(each)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in"]:
        sampled(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
