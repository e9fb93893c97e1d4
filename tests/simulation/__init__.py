"""The whole engine against the look-alike of Travis, in virtual time, under seeded schedules of everything that fails.

    python -m tests.simulation --seeds 0:10000      many schedules, with figures
    python -m tests.simulation --seeds 4711 -v      one of them, told as a story

kernel    a scheduler with virtual time, in which processes are killed and stopped between any two steps
backend   what anyio needs to run on it, so that the engine is the one that ships
schedule  what a seed draws: targets, service, faults, deaths, interrupts, clocks
network   calls that travel: they arrive although their sender died, and answers get lost
machine   processes with a wall clock and a journal, and when they die
play      plays a schedule until its runs have ended
oracle    what must hold, judged by what the service itself counted
planted   bugs to be put in on purpose, to see that the oracle finds them
"""
