"""The worker of clients/typescript with the handlers of typescript.mjs, in the place of this process.

Arguments: its options as JSON. ``PGSCHED_DSN`` says where.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

HANDLERS = Path(__file__).with_suffix(".mjs")
CLIENT = Path(__file__).resolve().parents[2] / "clients" / "typescript"


def missing() -> str | None:
    """Return why it cannot run on this machine; None when it can."""
    if shutil.which("node") is None:
        return "Node.js is not installed"
    if not (CLIENT / "dist" / "index.js").exists():
        return "the TypeScript worker is not built: clients/typescript/install.sh"
    return None


def connection_of(dsn: str) -> dict[str, object]:
    """The parts of a DSN as the package pg names them."""
    parts = conninfo_to_dict(dsn)
    names = {"host": "host", "port": "port", "user": "user", "password": "password", "database": "dbname"}
    found = {name: parts[key] for name, key in names.items() if parts.get(key) is not None}
    return found | ({"port": int(str(found["port"]))} if "port" in found else {})


def main() -> None:
    """Become Node.js: whoever kills this process kills the worker."""
    options = json.loads(sys.argv[1]) | {"connection": connection_of(os.environ["PGSCHED_DSN"])}
    os.execvp("node", ["node", str(HANDLERS), json.dumps(options)])


if __name__ == "__main__":
    main()
