"""Clients that nobody of this project wrote, tried by hand on its look-alikes."""
