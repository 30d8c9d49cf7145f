-- Until the commit, gives up a lock that is not granted in time, since every session that needs the table queues behind
-- ours. The limit is longer than deadlock_timeout, after which an automatic vacuum yields the table to us.
select set_config('lock_timeout', greatest(%(milliseconds)s, setting::integer + 1000)::text || 'ms', true)
from pg_settings
where name = 'deadlock_timeout'
