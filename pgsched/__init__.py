"""pgsched: a job queue and scheduler that needs PostgreSQL and nothing else."""
