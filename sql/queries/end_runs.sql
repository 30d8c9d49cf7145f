-- Ends durable runs whose tick was ended by an earlier finish in this transaction. The dead letter of a tick keeps its
-- steps.
with over as materialized (
  select d.id, d.tick, d.dead_lettered
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(ticks)s::integer[], %(dead_lettered)s::boolean[])
    as d(id, token, tick, dead_lettered)
  where not exists (
    select from pgsched.tasks t where t.id = any(array[d.id]) and (t.fencing_token <> d.token or t.status = 'running'))
),
gone as (
  delete from pgsched.durable_runs r using over o
  where r.task_id = o.id and r.tick_number = o.tick and not o.dead_lettered
)
select count(*), (select count(pgsched.move_steps(o.id, o.tick)) from over o where o.dead_lettered) from over
