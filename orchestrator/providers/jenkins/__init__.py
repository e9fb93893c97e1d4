"""Jenkins: jobs in folders and multibranch jobs, with an API token or a password."""
