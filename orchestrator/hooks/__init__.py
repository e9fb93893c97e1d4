"""What a run tells other programs: messages to people, numbers for a monitoring system, traces."""
