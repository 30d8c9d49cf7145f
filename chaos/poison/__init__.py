"""The kinds of poison that a trial plants beside ordinary tasks."""
