"""Reports: views of the journal, one file for each format."""
