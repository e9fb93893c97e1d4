"""The whole engine against the look-alike of Travis, in virtual time, under seeded schedules of everything that fails.

    python -m tests.simulation --seeds 0:10000      many schedules, with figures
    python -m tests.simulation --seeds 4711 -v      one of them, told as a story; --plain leaves out its plot

kernel    a scheduler with virtual time, in which processes are killed and stopped between any two steps
backend   what anyio needs to run on it, so that the engine is the one that ships
schedule  what a seed draws: targets, service, faults, deaths, interrupts, clocks
twist     what may befall runs beyond that, and plots, which draws it from a stream of its own
service   the look-alike, whose clock steps
network   calls that travel: they arrive although their sender died, and answers get lost
machine   processes with a wall clock and a journal, and when they die
play      plays a schedule until its runs have ended
people    retry, say what became of doubts, start runs that overlap
oracle    what must hold, judged by what the service itself counted: evidence sorts that, rules judges the limits
planted   bugs to be put in on purpose, to see that the oracle finds them
"""
