-- Cancels up to %(most)s tasks that have not started by their expires_at. Returns how many, and the seconds until the
-- next one expires; null when none does.
select pgsched.expire_tasks(%(most)s) as number, (
  select extract(epoch from min(t.expires_at) - now())::float8
  from pgsched.tasks t
  where t.expires_at > now() and t.completed_at is null and t.died_at is null) as next_in
