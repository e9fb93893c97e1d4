"""Travis CI's API v3. `(reference 4.3)` is a section of the facts collected about the real API."""
