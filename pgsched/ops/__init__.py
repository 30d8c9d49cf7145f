"""Keeping a database in order: what is removed and when, and what is wrong with it."""
