"""``python -m pgsched``."""

import sys

from pgsched.cli import main

sys.exit(main())
