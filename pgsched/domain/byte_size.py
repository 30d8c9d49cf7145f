"""Memory sizes in the form that people write, such as ``512MB``."""

from __future__ import annotations

import re

from pgsched.domain.errors import RegistrationError

_UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B", re.IGNORECASE)
SMALLEST, LARGEST = 1024**2, 2**62


def parse_size(option: str, value: object) -> int:
    """Return the bytes that a number or a text such as ``512MB`` stands for (units of 1,024; ``MiB`` is the same).

    Raises RegistrationError, naming the option, for any other value and for less than 1 MB.
    """
    found: float
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        found = float(match[1]) * _UNITS[f"{match[2].upper()}B"]
    else:
        raise RegistrationError(f'{option} must be a number of bytes or a text such as "512MB", got {value!r:.100}')
    if not SMALLEST <= found <= LARGEST:
        raise RegistrationError(f"{option} must be at least 1MB, got {value!r:.100}")
    return int(found)


def size_text(number: int) -> str:
    """Return bytes in the largest unit that gives at least 1, to one decimal: ``512MB``, ``1.5GB``."""
    for unit, size in reversed(_UNITS.items()):
        if number >= size:
            return f"{number / size:.1f}".removesuffix(".0") + unit
    return f"{number}B"
