"""The tools for agents: the real process, asked by the client of the protocol's own SDK."""

from __future__ import annotations

import pytest

from pgsched.client.client import Client
from tests.support.agents import ToolFailed, agent


async def test_viewer_sees_reading_tools_alone_and_changes_are_refused_in_one_line(dsn: str) -> None:
    with Client(dsn) as client:
        id = int(client.schedule("mail", {"to": "ada"}))
    async with agent(dsn) as one:
        tools = await one.tools()
        assert all(tool.annotations.read_only_hint for tool in tools.values())
        assert {"find_tasks", "show_task", "explain_waiting", "run_doctor"} <= set(tools)
        assert all(tool.description and tool.input_schema["type"] == "object" for tool in tools.values())
        for name in ("cancel_task", "list_audit"):
            assert name not in tools
            with pytest.raises(ToolFailed, match=f"{name} needs an operator token"):
                await one.call(name, id=id, reason="no longer needed")
        with pytest.raises(ToolFailed, match="id: Input should be a valid integer"):
            await one.call("show_task", id="x")
        with pytest.raises(ToolFailed, match="task 4711 does not exist"):
            await one.call("show_task", id=4711)
        with pytest.raises(ToolFailed, match="the term colour:red must begin with one of"):
            await one.call("find_tasks", query="colour:red")
        with pytest.raises(ToolFailed, match="no tool is called 'drop_table'"):
            await one.call("drop_table")
        for name in tools.keys() - {"show_task", "show_error", "explain_waiting", "explain_queue", "preview_schedule"}:
            await one.call(name)
        shown = await one.call("show_task", id=id)
        assert (shown["status"], [why["kind"] for why in shown["why"]["reasons"]]) == ("pending", ["no_worker"])
        assert len((await one.call("preview_schedule", cron="0 8 * * 1", ticks=3))["ticks"]) == 3
        assert (await one.call("explain_queue", name="default"))["due"] == 1
