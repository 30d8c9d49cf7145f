"""The app of the trials in a module whose import takes as long as the environment says."""

from __future__ import annotations

import os
import time

print("importing", flush=True)
time.sleep(float(os.environ.get("CHAOS_IMPORT_SECONDS", "0")))

from chaos.load.app import app  # noqa: E402

__all__ = ["app"]
