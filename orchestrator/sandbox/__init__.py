"""A look-alike of the Travis CI API v3 that runs on loopback or in memory: no network, no account, no waiting.

settings  what a world is like            reading   settings from a YAML-like map
rows      repos, requests, builds, jobs   seeding   the rows that a world begins with
guard     bans and throttles              faults    what goes wrong on purpose
life      from request to finished build  create, reads, changes    the services behind the routes
world     one call in, one reply out      memory, serve             the two ways to reach a world
demo      a world that fits a manifest    counts    what the world saw, for tests

`(reference 4.3)` in a docstring is a section of the collected facts about the real API, each with its public source.
"""

from orchestrator.sandbox.demo import world_for

__all__ = ["world_for"]
