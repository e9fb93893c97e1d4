"""What every look-alike needs.

lookalike  the base: time, faults, counting, a transport in memory; the protocol by which it is made
server     the same over sockets, on loopback
http       one exchange as values, a table of routes, credentials
faults     what goes wrong on purpose, and the chance that decides it
counters   windows that refuse, bans, what was seen
settings   typed settings from plain values
"""
