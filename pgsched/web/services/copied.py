"""Why workers do not start in this database: it is a copy that nobody has adopted, or somebody holds them back."""

from __future__ import annotations

from pgsched.client.async_client import AsyncClient
from pgsched.domain.errors import PermissionRefused


async def why_no_worker_starts(client: AsyncClient) -> str | None:
    """Return it in a sentence without its period; None if they start, or if the role may not know it."""
    try:
        state = await client.database_state()
    except PermissionRefused:
        return None
    if state.problem is None:
        return None
    problem, _, _command = state.problem.partition("; ")
    return problem[0].upper() + problem[1:]
