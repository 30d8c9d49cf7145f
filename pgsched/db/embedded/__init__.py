"""A PostgreSQL that comes as a Python package, and databases for tests."""
