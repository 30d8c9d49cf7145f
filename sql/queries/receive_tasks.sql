-- Inserts tasks of another shard as they were, with new ids; those that have arrived before are left out. Their tokens
-- must not be higher than those that will be drawn here: the sequence passes them, and never goes back.
with given as (
  select d.id, d.task from unnest(%(ids)s::bigint[], %(tasks)s::jsonb[]) d(id, task)
), arriving as (
  insert into pgsched.arrived_tasks as a (shard, id, tenant_id, task_id)
  select %(shard)s, g.id, %(tenant_id)s, nextval('pgsched.tasks_id_seq') from given g
  on conflict (shard, id) do update set task_id = excluded.task_id, idempotency_key = null where a.task_id is null
  returning a.id, a.task_id
), passed as (
  select case
    -- Drawn one by one: whoever draws beside us, the sequence never goes back. Nobody draws a million in the meantime.
    when m.gap <= 1000000 then (select max(nextval('pgsched.fencing_tokens')) from generate_series(1, m.gap))
    else setval('pgsched.fencing_tokens', m.highest) end
  from (
    select h.highest, h.highest - coalesce(pg_sequence_last_value('pgsched.fencing_tokens'), 0) as gap
    from (select max((g.task ->> 'fencing_token')::bigint) as highest from given g) h
  ) m
  where m.gap > 0
)
insert into pgsched.tasks
select t.*
from arriving n
join given g using (id)
cross join (select count(*) from passed) p  -- so that the tokens are passed first
cross join lateral jsonb_populate_record(null::pgsched.tasks, g.task || jsonb_build_object('id', n.task_id)) t
returning id
