"""What pgsched tells of itself: log lines, traces, and the notifications of a service manager."""
