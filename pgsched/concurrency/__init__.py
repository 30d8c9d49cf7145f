"""Threads, forks, process groups and asyncio tasks, as any program might want them: nothing of pgsched."""
