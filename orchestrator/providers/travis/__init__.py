"""Travis CI, API v3: hosted (.com) and Enterprise."""
