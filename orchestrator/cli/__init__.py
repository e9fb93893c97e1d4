"""The command line, one face of `app`: click, printing, prompts, the live view."""
