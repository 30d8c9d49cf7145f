"""Upgrades the schema of a database to the version of this program."""
