"""Plays many schedules, or tells the story of one."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from contextlib import nullcontext

from .deal import ALL
from .oracle import problems
from .planted import BUGS
from .play import Play, play
from .plots import SHARES, WORLDS, schedule_of
from .story import tell


def main() -> int:
    """The command line; 1 when any schedule has a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="FIRST:END, or one seed")
    parser.add_argument("--stop-after", type=int, default=10, help="so many failing seeds, then stop")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell each schedule as a story")
    parser.add_argument("--plain", action="store_true", help="without plots and weather")
    parser.add_argument("--only", choices=sorted(WORLDS), help="all schedules in this world")
    parser.add_argument("--types", default=",".join(ALL), help="of the services; `travis`: as drawn for it alone")
    parser.add_argument("--plant", choices=sorted(BUGS), help="put this bug in")
    said = parser.parse_args()
    gc.freeze()  # what was imported is no garbage: a tenth of the time
    with BUGS[said.plant]() if said.plant else nullcontext():
        return play_all(said)


def play_all(said: argparse.Namespace) -> int:
    """Plays the seeds that were asked for."""
    first, _, end = said.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    types = tuple(said.types.split(","))
    figures: Counter[str] = Counter()
    began, failed = time.process_time(), 0
    for seed in seeds:
        shares = {said.only: 1.0} if said.only else SHARES
        result = play(schedule_of(seed, plain=said.plain, shares=shares, types=types))
        count(result, figures)
        wrong = problems(result)
        if said.verbose:
            say(tell(result))
        if wrong:
            failed += 1
            say(f"seed {seed}: " + "\n    ".join(wrong))
            plant = (f" --plant {said.plant}" if said.plant else "") + " --plain" * said.plain
            plant += f" --only {said.only}" if said.only else ""
            plant += "" if types == ALL else f" --types {said.types}"
            say(f"    replay: python -m tests.simulation --seeds {seed} -v{plant}")
            if failed >= said.stop_after:
                break
    seconds = time.process_time() - began
    say(f"{figures['seeds']} seeds, {failed} with problems, {figures['seeds'] / seconds:.0f} a second of one core")
    say(", ".join(f"{name} {number}" for name, number in sorted(figures.items())))
    return 1 if failed else 0


def say(text: str) -> None:
    """Tells the person who runs this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def count(result: Play, figures: Counter[str]) -> None:
    """Adds up what happened."""
    figures["seeds"] += 1
    figures["steps"] += result.steps
    figures["processes"] += len(result.machine.driven)
    figures["killed"] += sum(driving.journal.is_dead for driving in result.machine.driven)
    figures["calls"] += len(result.machine.network.log)
    figures["requests"] += sum(len(world.rows()) for world in result.worlds.values())
    figures["faults"] += sum(world.counters.faults.total() for world in result.worlds.values())
    for site in result.schedule.sites:
        figures[f"on {site.type}"] += 1
    figures["virtual hours"] += round(result.machine.kernel.time / 3600, 3)
    figures["states lost or copied"] += len(result.machine.states) - 1
    figures["words of people"] += len(result.said)
    figures["runs retried"] += "again" in result.made
    figures["runs overlapping"] += "r9" in result.made
    for history in result.histories.values():
        for target in history.targets:
            figures["reruns"] += history.of(target.id).reruns
            if how := history.of(target.id).how:
                figures[f"requests {how}"] += 1
            verdict = history.of(target.id).verdict
            figures[f"= {verdict.outcome.value if verdict else 'open'}"] += 1


if __name__ == "__main__":
    sys.exit(main())
