"""Values and decisions; imports nothing of ours but itself. No clock, and no I/O but that of `secrets`."""
