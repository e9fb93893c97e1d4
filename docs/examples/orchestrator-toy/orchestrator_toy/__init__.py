"""Toy CI for the orchestrator."""
