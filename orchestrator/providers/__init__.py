"""Providers: one folder for each CI service, and the transport that all of them share."""
