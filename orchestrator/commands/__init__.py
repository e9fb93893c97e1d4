"""The verbs of the command line, a file each; `cli` loads one when it is used."""
