"""Any service with an HTTP API: the manifest's account describes it."""
