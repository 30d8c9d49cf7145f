"""A fake language model: ``python fake_model.py PORT`` (0: any free port).

Its answers follow from the conversation alone. It logs and numbers the calls that it receives, which shows the turns
that were requested twice.
"""

import itertools
import json
import logging
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

THINKS_SECONDS = 0.1
TOO_LATE_DAYS = 8

log = logging.getLogger("model")
numbers = itertools.count(1)


def answer(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the model's next message: check each order, two at a time, then refund the late ones, then answer."""
    calls = {call["id"]: call for message in messages for call in message.get("calls", ())}
    results = [(calls[one["id"]], one["content"]) for one in messages if one["role"] == "tool"]
    orders = next((content for call, content in results if call["tool"] == "orders_of"), None)
    tracked = {call["arguments"]["order"]: content for call, content in results if call["tool"] == "track"}
    refunds = {call["arguments"]["order"]: content for call, content in results if call["tool"] == "refund"}
    if orders is None:
        return _asking(len(calls), ("orders_of", {"customer": "ada"}))
    if left := [order for order in orders if order not in tracked]:
        return _asking(len(calls), *(("track", {"order": order}) for order in left[:2]))
    late = {order: said["price"] for order, said in tracked.items() if said["days_late"] > TOO_LATE_DAYS}
    if left := [order for order in late if order not in refunds]:
        return _asking(len(calls), *(("refund", {"order": order, "amount": late[order]}) for order in left))
    told = "; ".join(f"order {order}: {refunds[order]}" for order in sorted(refunds))
    return {"role": "assistant", "content": told or "no order is late", "calls": []}


def _asking(known: int, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    asked = [
        {"id": f"call-{number}", "tool": tool, "arguments": arguments}
        for number, (tool, arguments) in enumerate(calls, known + 1)
    ]
    return {"role": "assistant", "content": "", "calls": asked}


class Model(BaseHTTPRequestHandler):
    """Answers each POST with a message."""

    def do_POST(self) -> None:
        """Wait briefly, then answer."""
        messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
        number, turn = next(numbers), sum(message["role"] == "assistant" for message in messages)
        log.info("call %d: turn %d", number, turn)
        time.sleep(THINKS_SECONDS)
        body = json.dumps(answer(messages) | {"number": number}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    log_message: Callable[..., None] = lambda *_: None


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model)
    log.info("the model listens on port %d", server.server_port)
    server.serve_forever()
