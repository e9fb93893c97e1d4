"""GitHub Actions: `workflow_dispatch` and `repository_dispatch`, on github.com, ghe.com and Enterprise Server."""
