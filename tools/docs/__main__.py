"""``python -m tools.docs``: regenerates the generated pages."""

from __future__ import annotations

from tests.support import servers
from tools.docs.pages import FOLDER, OF_THE_PROGRAM, OF_THE_SCHEMA


def main() -> None:
    """Write every page, and report which have changed."""
    pages = {name: write() for name, write in OF_THE_PROGRAM.items()}
    with servers.run_of_tests(), servers.default_server() as server:
        dsn = servers.with_database(server, servers.ensure_template(server))
        pages |= {name: write(dsn) for name, write in OF_THE_SCHEMA.items()}
    for name, text in pages.items():
        path = FOLDER / name
        changed = not path.exists() or path.read_text(encoding="utf-8") != text
        path.write_text(text, encoding="utf-8")
        print(f"docs/{name}: {'written' if changed else 'unchanged'}")


main()
