"""The domain logic of pgsched, pure: no I/O, no clock, no randomness."""
