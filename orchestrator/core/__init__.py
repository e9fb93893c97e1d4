"""Values and decisions; imports nothing of ours but itself: no I/O, no clock."""
