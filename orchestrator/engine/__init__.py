"""Drives runs; `engine.py` tells how its parts hang together."""
