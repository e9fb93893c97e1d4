"""The command line: one face of the use cases in `orchestrator.app`. It prints, asks and redraws; it knows no rule."""
