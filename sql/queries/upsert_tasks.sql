-- Inserts tasks, or changes those with their keys, through pgsched.upsert. It goes in the order of the keys, as every
-- statement that locks many rows must, and answers in the order of the tasks.
select done.id, done.outcome
from (
  select given.value, given.place
  from pg_catalog.jsonb_array_elements(%(tasks)s::pg_catalog.text::pg_catalog.jsonb)
    with ordinality as given(value, place)
  order by given.value operator(pg_catalog.->>) 'idempotency_key', given.place
) ordered
cross join lateral pgsched.upsert(ordered.value) done
order by ordered.place
