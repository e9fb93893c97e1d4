"""Gitea Actions, and Forgejo's, which are nearly the same."""
