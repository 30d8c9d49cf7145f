"""What pgsched is about, pure: no I/O, no clock, no chance."""
