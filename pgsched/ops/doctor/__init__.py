"""Diagnoses a queue and its database: facts are read and judged one by one, and problems become findings."""
