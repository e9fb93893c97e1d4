"""Puts faults into a copy of the tree, one by one, to see that a test notices each: `python -m tests.planted`."""
