"""The whole engine against look-alikes of all types, in virtual time, under seeded schedules of everything that fails.

    python -m tests.simulation --seeds 0:10000      many schedules, with figures
    python -m tests.simulation --types travis       on the users of one Travis, for which all of it was drawn first
    python -m tests.simulation --seeds 4711 -v      one of them, told as a story; --plain leaves out its plot
    python -m tests.simulation --only put-back      all of them in that world

kernel    a scheduler with virtual time, in which processes are killed and stopped between any two steps
backend   what anyio needs to run on it, so that the engine is the one that ships
schedule  what a seed draws: targets, service, faults, deaths, interrupts, clocks
twist     what may befall runs beyond that, and plots, which draws it from a stream of its own
deal      types dealt out: one to three accounts, over which the targets are spread
kinds     each type: how a seed draws one, what a target says to it, how its counters are read
world     a service: a look-alike whose clock steps, and what its calls made
past      the markers that earlier runs have seen
network   calls that travel: they arrive although their sender died, and answers get lost
machine   processes with a wall clock and a journal, and when they die
play      plays a schedule until its runs have ended
rollouts  waves, the person who approves and pauses, and what must hold of them
reruns    builds that failed and are started again, and what must hold of them
people    retry, say what became of doubts, start runs that overlap
oracle    what must hold, judged by what the services themselves counted: evidence sorts that, rules judges the
          limits, doubts which of them may stay
planted   bugs to be put in on purpose, to see that the oracle finds them

Some faults have a world of their own (`plots.WORLDS`), since a guard of its own stands against each:

outage    for a while the service answers nothing; what that may spend is bounded, and all is settled after it
put-back  the state is put back to an earlier instant, also under a process that is at work; nothing is asked for twice
rollout   a run in waves, with a person who approves, denies and pauses; no wave opens before its verdict
reruns    any plot, with builds that are started again when they failed; none makes a second request
mixed     triggers are answered with the receipt of another one; nothing takes what is not its own. Only of types whose
          receipts tell which marker they answer

What is not judged, since no client can keep it, or ours does not yet: limits that count reads, over several processes
(one that is alone leaves no record of its looks); the crumb that Jenkins is asked for within a trigger; a target that
is looked for while its need ends in doubt, and is then both, or is skipped for it without a look; and, where a state
was lost or put back, services that never show a marker, since one target of each process goes ahead to prove it.

As long as a guard is missing, `plots.SHARES` has 0 for its world, and the test that plays it is expected to fail. With
the guard: set the share (0.05; 0.02 for the outage, whose runs are long), take the mark off the test, and write a bug
into `planted` that removes the guard, with the world and the number of seeds within which it must be found.
"""
