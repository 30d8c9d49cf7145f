"""Maintenance of a database: deleting old rows and diagnosing problems."""
