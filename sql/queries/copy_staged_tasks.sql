-- Into the waiting room.
copy pg_temp.pgsched_staged_tasks ({columns}) from stdin
