"""Look-alikes of CI services, to rehearse against: on loopback or in memory, no network, no account, no waiting.

`kit` has what every look-alike needs and knows no service; each service has a folder with its rows, routes, shapes.
A provider's declaration names its class, a `LookAlike`; `app/rehearse.py` makes one by the plan, `cli/sandbox.py` by
settings, and both serve it.
"""
