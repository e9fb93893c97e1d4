"""Bytes that nobody would send, into everything that reads them: `python -m tests.fuzz answers -max_total_time=60`.

The targets are plain functions over bytes; hypothesis calls them from `test_fuzz.py`, atheris from here.
"""
