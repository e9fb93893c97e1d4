"""A world's counts as one JSON object, for tests from outside and for people."""

from __future__ import annotations

from orchestrator.lookalike.kit.printer import Object
from orchestrator.lookalike.travis.world import World


def stats(world: World) -> Object:
    """What the world saw. Times are the server's; `worst_*` is the most in any window, wherever it starts."""
    counts = world.counts
    burst, minute = world.settings.scaled().burst, world.settings.scaled().minute
    builds = world.tables.builds.values()
    states: dict[str, int] = {}
    for build in builds:
        states[build.state] = states.get(build.state, 0) + 1
    return {
        "requests": len(counts.accepted),
        "builds": len(world.tables.builds),
        "build_states": states,
        "posts": len(counts.posts),
        "calls": len(counts.calls),
        "statuses": dict(counts.statuses),
        "refusals": dict(counts.refusals),
        "faults": dict(counts.faults),
        "bans": world.guard.bans,
        "worst_posts": counts.worst_posts(30.0 if burst is None else burst.per),
        "worst_calls": counts.worst_calls(60.0 if minute is None else minute.per),
        "worst_of_a_repo": counts.worst_of_a_repo(world.settings.scaled().hour),
        "duplicates": counts.duplicates(),
        "by_repo": dict(counts.by_repo()),
        "by_marker": dict(counts.by_marker()),
    }
