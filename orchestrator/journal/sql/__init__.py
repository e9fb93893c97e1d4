"""The SQL dialects of the journal's store."""
