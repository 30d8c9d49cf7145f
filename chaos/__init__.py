"""Break pgsched in every way we know: ``python -m chaos``, or ``make chaos``."""
