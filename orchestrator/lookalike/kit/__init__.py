"""What every look-alike needs."""
