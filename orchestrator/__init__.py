"""Start CI builds in many repositories: never twice, never lost, never banned."""

__version__ = "0.1.0"
