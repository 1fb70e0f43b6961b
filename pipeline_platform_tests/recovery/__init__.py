"""Recovery, end to end: real daemon, code server and workers, and the faults of a bad day."""
