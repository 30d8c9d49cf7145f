-- Until the commit, give up a lock that is not to be had in time: whoever comes for the same table waits behind us. Longer than
-- deadlock_timeout, after which a vacuum that the server started by itself lets go of the table for our sake.
select set_config('lock_timeout', greatest(%(milliseconds)s, setting::integer + 1000)::text || 'ms', true)
from pg_settings
where name = 'deadlock_timeout'
