"""The same faults for other queues on PostgreSQL, and for pgsched beside them."""
