"""``pgsched`` and ``python`` for the examples of the documentation, without a start of the interpreter for each.

A page calls them dozens of times, and nearly all of that time would be imports. So one process has imported what they
need, and forks for each call: a child with the caller's files, folder, environment and arguments runs it and ends with
its exit code. Workers and web faces are real processes of their own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import CHECKOUT

# Not ours to import: it must start in a few milliseconds.
CALLER = """
import array, json, os, socket, sys
caller = socket.socket(socket.AF_UNIX)
caller.connect(sys.argv[1])
call = json.dumps([os.getcwd(), dict(os.environ), sys.argv[2:]]).encode()
files = array.array("i", [0, 1, 2])
caller.sendmsg([len(call).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
caller.sendall(call)
code = caller.recv(4)
sys.exit(int.from_bytes(code, "big") if code else 1)
"""


@contextlib.contextmanager
def programs() -> Iterator[Path]:
    """A folder with ``pgsched`` and ``python``, for the PATH of those who call them."""
    with tempfile.TemporaryDirectory(prefix="pgsched-docs-") as folder:
        address, caller = Path(folder) / "calls", Path(folder) / "caller.py"
        caller.write_text(CALLER)
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.doc_programs", str(address)],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            found = Path(folder) / "bin"
            found.mkdir()
            call = shlex.join([sys.executable, "-I", "-S", str(caller), str(address)])
            put(found / "pgsched", f'exec {call} pgsched "$@"')
            # `python -c` and the like are the interpreter's own.
            python = f'case "$1" in -*) exec {shlex.quote(sys.executable)} "$@" ;; *) exec {call} python "$@" ;; esac'
            put(found / "python", python)
            yield found
        finally:
            server.terminate()
            server.wait()


def put(program: Path, line: str) -> None:
    """Write a program of one line of shell."""
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)


def _serve(address: str) -> None:
    import pgsched.app.app
    import pgsched.domain.workflow
    import pgsched.ops.doctor.doctor
    import pgsched.ops.prune
    import pgsched.web.app  # noqa: F401
    from pgsched.cli import COMMANDS, PLACES, main

    for command in COMMANDS:
        importlib.import_module(f"pgsched.cli.{PLACES.get(command, command).partition(':')[0]}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a child ended: it says so itself
    with socket.socket(socket.AF_UNIX) as calls:
        calls.bind(address)
        calls.listen()
        print("ready", flush=True)
        while True:
            caller, _ = calls.accept()
            with caller:
                if os.fork() == 0:
                    calls.close()
                    _answer(caller, main)


def _answer(caller: socket.socket, main: object) -> None:
    """Be the program that was called, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(caller, 8, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += caller.recv(65536)
    folder, environment, (program, *arguments) = json.loads(text)
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    # Streams of its own: those it was forked with looked at other files.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = 1
    try:
        ours = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.path[:] = [*ours, *[path for path in sys.path if path not in ours]]
        if program == "pgsched":
            assert callable(main)
            code = main(arguments)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            runpy.run_path(arguments[0], run_name="__main__")
            code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  (as the interpreter does)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        caller.sendall(code.to_bytes(4, "big"))
        os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1])
