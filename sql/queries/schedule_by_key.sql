-- Inserts tasks with idempotency keys, and applies on_conflict to those whose keys exist. It proceeds in the order of
-- the keys, as every statement that locks many rows must, and returns rows in the order of the tasks. Arguments and
-- results are plain, so that the adapters and settings of a caller's connection do not matter.
select done.id, done.outcome, pg_catalog.array_to_string(done.differs, ',') as differs
from (
  select given.value, given.place
  from pg_catalog.jsonb_array_elements(%(tasks)s::pg_catalog.text::pg_catalog.jsonb)
    with ordinality as given(value, place)
  order by given.value operator(pg_catalog.->>) 'idempotency_key', given.place
) ordered
cross join lateral pgsched.schedule_by_key(ordered.value, %(on_conflict)s::pg_catalog.text) done
order by ordered.place
