"""A PostgreSQL that is installed as a Python package, and databases for tests."""
