"""How a run will go, before it starts: simulated in virtual time, under the limits that the engine keeps."""
