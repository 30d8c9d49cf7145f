-- Inserts tasks that are unique by their properties, and applies the rule and on_conflict to those that exist. It
-- proceeds in the order of the keys, as every statement that locks many rows must, and returns rows in the order of the
-- tasks. Arguments and results are plain, so that the adapters and settings of a caller's connection do not matter.
select done.id, done.outcome, pg_catalog.array_to_string(done.differs, ',') as differs
from (
  select given.value, given.place
  from pg_catalog.jsonb_array_elements(%(tasks)s::pg_catalog.text::pg_catalog.jsonb)
    with ordinality as given(value, place)
  order by pgsched.unique_key(given.value, %(by)s::pg_catalog.text[]), given.place
) ordered
cross join lateral pgsched.schedule_unique(
  ordered.value, %(by)s::pg_catalog.text[], %(within)s::interval, %(states)s::pg_catalog.text[],
  %(debounce)s::interval, %(max_wait)s::interval, %(on_conflict)s::pg_catalog.text) done
order by ordered.place
