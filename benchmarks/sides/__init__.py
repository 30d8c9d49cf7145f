"""One module a side: each runs one round in a process of its own and prints what it measured as JSON."""
