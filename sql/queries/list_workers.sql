-- Lists the registered workers.
select w.*, w.heartbeat_at > now() - 3 * w.lease as alive from pgsched.workers w order by w.started_at, w.id
