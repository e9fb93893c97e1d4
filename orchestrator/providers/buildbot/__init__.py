"""Buildbot, through the force schedulers of its REST API."""
