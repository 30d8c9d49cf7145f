"""The client for programs with an event loop, by the module's earlier name; ``pgsched.AsyncClient`` is the same."""

from pgsched.client.async_client import AsyncClient

__all__ = ["AsyncClient"]
