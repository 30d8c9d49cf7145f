"""``pgsched bench``: measures a server with real tasks and real workers, in a queue of its own, and cleans up."""
