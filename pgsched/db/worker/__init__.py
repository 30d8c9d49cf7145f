"""What a worker asks of the database."""
