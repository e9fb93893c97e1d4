"""Durable, append-only facts of all runs, leases on them, and usage records of shared limits."""
