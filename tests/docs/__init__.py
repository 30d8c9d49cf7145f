"""What writes the generated pages of docs/: ``python -m tests.docs`` (or ``make docs``)."""
