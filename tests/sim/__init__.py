"""The simulator: whole clusters of the protocol core in one process, every order drawn by a seed.

binding.py   the core's door: events packed, actions unpacked, one step called
host.py      a host: page cache, protections, twins, lock words; executes the core's actions
thread.py    a thread of a client process: memory accesses as the hardware does them, requests
guards.py    what the threads share, and the oracle: who may touch a byte, what it must hold
program.py   random race-free programs
draw.py      what a seed decides before the world starts
world.py     the connections, the scheduler, the end of a world
trace.py     what happened, readable
mutant.py    the second build of the core, whose rules can be switched off
litmus/      small programs with a verdict, every order explored
scenarios/   golden traces
"""
