"""Every error that pgsched raises."""

from pgsched.domain.errors import *  # noqa: F403
