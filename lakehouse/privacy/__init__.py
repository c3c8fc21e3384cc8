"""Privacy: which policy a mart must state, and whether what it publishes keeps to it."""
