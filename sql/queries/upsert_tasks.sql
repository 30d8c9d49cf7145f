-- Tasks that are inserted or changed by their keys, through the function that knows how. In the order of the keys, as whoever locks
-- many rows; the answers in the order of the tasks.
select done.id, done.outcome
from (
  select given.value, given.place
  from pg_catalog.jsonb_array_elements(%(tasks)s::pg_catalog.text::pg_catalog.jsonb) with ordinality as given(value, place)
  order by given.value operator(pg_catalog.->>) 'idempotency_key', given.place
) ordered
cross join lateral pgsched.upsert(ordered.value) done
order by ordered.place
