"""A client that a public generator writes from the description: it has the names one expects, and works."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pgsched.web import WebSettings, create_app
from pgsched.web.server import serving
from tests.support.web_face import OPERATOR_TOKEN, VIEWER_TOKEN

PACKAGE = "generated_pgsched_client"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the client, which can be imported."""
    folder = tmp_path_factory.mktemp("generated")
    description = folder / "openapi.json"
    description.write_text(json.dumps(create_app("").openapi()))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    command += ["--path", str(description), "--output-path", str(folder / PACKAGE)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    # It says of each part of a description that it cannot read what is wrong with it.
    assert [line for line in made.stdout.splitlines() if "unable" in line.lower() or "error" in line.lower()] == []
    sys.path.insert(0, str(folder))
    yield folder / PACKAGE
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


def test_generated_client_creates_lists_reads_edits_and_cancels_a_task(dsn: str, generated: Path) -> None:
    settings = WebSettings(port=0, operator_token=OPERATOR_TOKEN, viewer_token=VIEWER_TOKEN)
    models: Any = module("models")
    create_task, list_tasks, get_task, update_task, cancel_task = (
        module(f"api.tasks.{name}") for name in ("create_task", "list_tasks", "get_task", "update_task", "cancel_task")
    )
    with serving(dsn=dsn, settings=settings) as url:
        client = module("client").AuthenticatedClient(base_url=url.rstrip("/"), token=OPERATOR_TOKEN)
        with client:
            payload = models.NewTaskPayloadType0.from_dict({"to": "ada@example.com"})
            body = models.NewTask(task_type="email", payload=payload, queue="mail", delay="1h")
            made = create_task.sync(client=client, body=body, idempotency_key="order-17")
            assert (made.outcome, made.status, made.queue) == ("created", "pending", "mail")
            assert create_task.sync(client=client, body=body, idempotency_key="order-17").id == made.id

            page = list_tasks.sync(client=client, queue=["mail"])
            assert [task.id for task in page.items] == [made.id]
            assert page.next_cursor is None

            read = get_task.sync(made.id, client=client)
            assert (read.payload.to_dict(), read.schedule) == ({"to": "ada@example.com"}, "once")
            edited = update_task.sync(
                made.id, client=client, body=models.TaskEdit(priority=9), if_match=f'"{read.version}"'
            )
            assert edited.priority == 9
            stale = update_task.sync(
                made.id, client=client, body=models.TaskEdit(priority=1), if_match=f'"{read.version}"'
            )
            assert isinstance(stale, models.Problem)
            assert (stale.status, stale.field) == (412, "If-Match")

            assert cancel_task.sync(made.id, client=client).status == "cancelled"
            refused = cancel_task.sync(made.id, client=client)
            assert isinstance(refused, models.Problem)
            assert (refused.status, refused.title) == (409, "Conflict")
    assert (generated / "api" / "queues" / "pause_queue.py").exists()
