"""What the trial `shards` needs: movers that die at a chosen step, and the books of several databases as one."""
