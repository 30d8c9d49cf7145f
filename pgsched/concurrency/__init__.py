"""Threads, forks, process groups and asyncio tasks, for any program: nothing here depends on pgsched."""
