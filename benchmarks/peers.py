"""What the other sides need: Python packages, Node programs, a Redis. What is missing is named, with the cause."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

NODE = Path(__file__).parent / "node"
INSTALL_SECONDS = 300
START_SECONDS = 20
# As BullMQ's guide for production says: the append-only file synced once a second, nothing evicted.
REDIS_SETTINGS = {
    "port": "0",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    "loglevel": "warning",
}


@dataclass
class Peers:
    """The peers' programs, set up in a folder of this run."""

    folder: Path
    missing: dict[str, str] = field(default_factory=dict)
    """Why something cannot be used."""
    _redis: subprocess.Popen[bytes] | None = None

    @property
    def node_folder(self) -> Path:
        return self.folder / "node"

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    def set_up(self, needs: Iterable[str]) -> None:
        """Set up what the chosen sides need."""
        for need in sorted(set(needs)):
            problem = {"node": self._install_node, "redis": self._start_redis, "typescript": _build_typescript}.get(
                need
            )
            cause = problem() if problem else _missing_package(need)
            if cause:
                self.missing[need] = cause

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._redis is not None:
            self._redis.terminate()
            self._redis.wait(START_SECONDS)

    def _install_node(self) -> str | None:
        """Copy the programs beside the packages they import; returns what went wrong."""
        if shutil.which("node") is None or shutil.which("npm") is None:
            return "Node.js and npm are not installed"
        shutil.copytree(NODE, self.node_folder)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        try:
            done = subprocess.run(
                command, cwd=self.node_folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"npm install did not end within {INSTALL_SECONDS} s"
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "ERR!" in line or "error" in line]
            return f"npm install failed: {lines[0] if lines else done.returncode}"
        return None

    def _start_redis(self) -> str | None:
        server = shutil.which("redis-server")
        if server is None:
            return "redis-server is not installed"
        data = self.folder / "redis"
        data.mkdir()
        command = [server, "--unixsocket", str(self.socket), "--dir", str(data)]
        for name, value in REDIS_SETTINGS.items():
            command += [f"--{name}", value]
        self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            if self._redis.poll() is not None or time.monotonic() > deadline:
                with contextlib.suppress(OSError):
                    self._redis.kill()
                self._redis = None
                return "redis-server did not start"
            time.sleep(0.05)
        return None


def _build_typescript() -> str | None:
    """Build the worker of clients/typescript; returns what went wrong."""
    script = NODE.parents[1] / "clients" / "typescript" / "install.sh"
    done = subprocess.run([str(script)], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it could not be built"])[-1]


def _missing_package(name: str) -> str | None:
    if importlib.util.find_spec(name) is None:
        return f"the package {name} is not installed"
    return None
