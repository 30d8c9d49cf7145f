"""A small site: orders that are confirmed by a worker."""
