"""A look-alike of the Travis CI API v3 that runs on loopback or in memory: no network, no account, no waiting.

What a world is like:           settings, reading (settings from a map), demo (a world that fits a manifest)
What is in it:                  rows, tables, chance (draws that depend on names, not on the order of calls)
What happens by itself:         life
The way in:                     gateway, guard (bans and throttles), routes, visit
The services behind the routes: create, changes, reads, places
The way out:                    fields, shapes, printer, paging, reply, faults
All of it, and how to reach it: world, memory, serve, counts, stats

`(reference 4.3)` in a docstring is a section of the collected facts about the real API, each with its public source.
"""

from orchestrator.lookalike.travis.demo import world_for

__all__ = ["world_for"]
