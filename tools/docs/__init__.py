"""Writes the generated pages of docs/: ``python -m tools.docs`` (or ``make docs``)."""
