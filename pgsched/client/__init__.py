"""The clients: schedule, inspect and change tasks; for threads and for event loops."""

from pgsched.client.client import Client

__all__ = ["Client"]
