"""``pgsched`` in a process with little: descriptors, memory, or time of the processor.

The first argument is JSON: ``descriptors`` (``ulimit -n``), ``memory`` (bytes of address space, as ``ulimit -v``),
``nice``.
"""

from __future__ import annotations

import json
import os
import resource
import sys


def main() -> int:
    """Limit this process, then work."""
    limits = json.loads(sys.argv[1])
    for name, kind in (("descriptors", resource.RLIMIT_NOFILE), ("memory", resource.RLIMIT_AS)):
        if name in limits:
            resource.setrlimit(kind, (limits[name], limits[name]))
    if "nice" in limits:
        os.setpriority(os.PRIO_PROCESS, 0, limits["nice"])
    from pgsched.cli import main

    return main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
