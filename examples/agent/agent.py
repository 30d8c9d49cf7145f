"""An agent that refunds late orders: ``pgsched worker --app agent:app``.

Each turn calls a language model and runs the tools that the model requests. The model's answers and the tools' results
are recorded: a worker that dies costs no more than the calls in progress, and a refund waits for a person without
occupying a worker.
"""

import asyncio
import json
import os
import urllib.request
from functools import partial
from typing import Any

from psycopg import AsyncConnection

from pgsched import App, Discard, DurableContext, EventTimeout

MODEL = os.environ.get("MODEL_URL", "http://127.0.0.1:8099")
MAX_TURNS = 50

app = App()


def ask_model(messages: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Send the conversation to the model and return its answer. ``key`` lets the model recognise a repeated call."""
    body = json.dumps({"messages": messages}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    with urllib.request.urlopen(urllib.request.Request(MODEL, body, headers), timeout=60) as answer:  # noqa: S310
        return dict(json.load(answer))


async def orders_of(connection: AsyncConnection[Any], customer: str) -> list[int]:
    """Return the numbers of a customer's orders."""
    query = "select number from shop_orders where customer = %s order by number"
    return [number for (number,) in await (await connection.execute(query, [customer])).fetchall()]


async def track(connection: AsyncConnection[Any], order: int) -> dict[str, int]:
    """Return how many days late an order is, and its price."""
    query = "select days_late, price from shop_orders where number = %s"
    row = await (await connection.execute(query, [order])).fetchone()
    return {} if row is None else {"days_late": row[0], "price": row[1]}


async def refund(connection: AsyncConnection[Any], order: int, amount: int) -> str:
    """Record a refund."""
    await connection.execute("insert into shop_refunds (order_number, amount) values (%s, %s)", [order, amount])
    return f"{amount} are refunded"


TOOLS = {"orders_of": orders_of, "track": track, "refund": refund}
ASKS_FIRST = {"refund"}
"""Tools that need a person's approval."""


@app.task("agent", durable=True, max_attempts=50)
async def agent(question: str, ctx: DurableContext) -> str:
    """Answer a question, with the model and the tools."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    for turn in range(MAX_TURNS):
        said = await ctx.step("model", ask_model, messages, str(ctx.uuid(f"call {turn}")), key=str(turn))
        messages.append(said)
        if not said["calls"]:
            return str(said["content"])
        messages += await asyncio.gather(*(call_tool(ctx, call) for call in said["calls"]))
    raise Discard(f"the model has no answer after {MAX_TURNS} turns")


async def call_tool(ctx: DurableContext, call: dict[str, Any]) -> dict[str, Any]:
    """Run a tool once, with a person's approval where it needs one, and return the message for the model."""
    name, key = call["tool"], call["id"]
    if name not in TOOLS:
        content: Any = f"there is no tool {name}"
    elif name in ASKS_FIRST and not await approved(ctx, key):
        content = "a person has refused this"
    else:
        # In a transaction that commits with the record: a tool's writes take effect exactly once.
        tool = partial(TOOLS[name], **call["arguments"])
        content = await ctx.step(name, tool, key=key, transactional=True)
    return {"role": "tool", "id": key, "content": content}


async def approved(ctx: DurableContext, key: str) -> bool:
    """Wait for a person, at most two days; no answer is a refusal."""
    try:
        answer = await ctx.wait_for(f"approval {key}", timeout="2d")
    except EventTimeout:
        return False
    return bool(answer["approved"])
