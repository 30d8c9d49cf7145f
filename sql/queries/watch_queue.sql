-- Returns whether a queue still has anything to run. Quick while there is much, and when nothing is left.
select exists (
  select from pgsched.tasks t where t.queue = %(queue)s and t.next_run_at is not null and t.enabled) as busy
