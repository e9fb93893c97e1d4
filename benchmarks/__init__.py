"""Measurements with their yardsticks in the same run: `python -m benchmarks`; see docs/performance.md."""
