"""Buildkite: builds of pipelines, marked by their meta-data, followed by one listing of the organization."""
