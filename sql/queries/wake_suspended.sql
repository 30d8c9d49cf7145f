-- Makes up to %(most)s suspended runs due whose wait has timed out. Returns how many, and the seconds until the next
-- one times out; null when none does.
select pgsched.wake_suspended(%(most)s) as number, (
  select extract(epoch from min(r.wakes_at) - now())::float8
  from pgsched.durable_runs r
  where r.wakes_at > now()) as next_in
