"""What tests of the engine, ours and other people's, build on: a journal in memory, and its simulated death."""

from orchestrator.journal.memory import Crash, Disk, MemoryJournal

__all__ = ["Crash", "Disk", "MemoryJournal"]
