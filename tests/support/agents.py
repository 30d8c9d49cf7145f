"""An agent's end of ``pgsched mcp``: the client of the protocol's own SDK, over stdio to the real process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent

from pgsched.web.mcp.bounds import MAX_CHARACTERS
from pgsched.web.mcp.server import caller_of, make_server
from tests.support.processes import CHECKOUT
from tests.support.web_face import OPERATOR_TOKEN


class ToolFailed(Exception):
    """What a tool answered instead of a result."""


class Agent:
    """Calls tools and sees nothing else."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.calls = 0

    async def tools(self) -> dict[str, Any]:
        """The tools by their names."""
        return {one.name: one for one in (await self.client.list_tools()).tools}

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The data of a result. Raises ToolFailed with its one line."""
        return (await self.whole(name, **arguments))["data"]

    async def whole(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """A result as the model gets it."""
        self.calls += 1
        result = await self.client.call_tool(name, arguments)
        assert isinstance(result, CallToolResult)
        (content,) = result.content
        assert isinstance(content, TextContent)
        assert len(content.text) <= MAX_CHARACTERS
        if result.is_error:
            assert "\n" not in content.text
            raise ToolFailed(content.text)
        made: dict[str, Any] = json.loads(content.text)
        assert made == result.structured_content
        return made


@asynccontextmanager
async def agent_within(app: FastAPI, role: str, *, name: str | None = None, mode: str = "auto") -> AsyncIterator[Agent]:
    """An agent of the same tools within this process, in a role; ``legacy``: of a client of before 2026."""
    async with Client(make_server(app, caller_of(role, name)), mode=mode) as client:
        yield Agent(client)
    await app.state.web.close()


@asynccontextmanager
async def agent(dsn: str, *options: str, operator: bool = False) -> AsyncIterator[Agent]:
    """An agent of ``pgsched mcp`` on a database; an operator if that is said."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PGSCHED_", "COV"))}
    env |= {"PGSCHED_DSN": dsn, "PYTHONPATH": str(CHECKOUT)}
    env |= {"PGSCHED_OPERATOR_TOKEN": OPERATOR_TOKEN} if operator else {}
    started = StdioServerParameters(command=sys.executable, args=["-m", "pgsched", "mcp", *options], env=env)
    async with Client(started) as client:
        yield Agent(client)
