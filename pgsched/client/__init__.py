"""The clients: schedule tasks, ask how they are, change them; for threads and for event loops."""

from pgsched.client.client import Client

__all__ = ["Client"]
