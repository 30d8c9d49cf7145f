"""Statements of a worker."""
