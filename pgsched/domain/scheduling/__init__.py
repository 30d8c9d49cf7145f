"""When schedules tick: cron expressions, intervals, time zones."""
