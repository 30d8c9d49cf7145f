-- What the dashboard looks things up by.
--
-- The history is written with every task that ends, so it gets no tree: a summary of block ranges costs next to nothing, and
-- the rows lie in the order of time anyway. Attempts that failed are the few that people look for. The indexes on tasks hold schedules and workflows only: plain tasks pay nothing.
-- None mentions a column that a claim or a finish sets.

create index executions_time on pgsched.executions using brin (started_at, finished_at)
  with (pages_per_range = 32, autosummarize = on);
create index executions_not_completed on pgsched.executions (started_at) where status <> 'completed';
create index tasks_schedules on pgsched.tasks (id) where schedule_type <> 'one_time';
create index tasks_workflows on pgsched.tasks (id) where task_type = 'pgsched.group' or cardinality(depends_on) > 0;

-- One probe of the due clock's index a queue, however many rows there are.
create function pgsched.queues_in_use() returns setof text
language sql stable as $$
with recursive used(name) as (
  (select t.queue::text from pgsched.tasks t
   where t.next_run_at is not null and t.enabled order by t.queue limit 1)
  union all
  select (select t.queue::text from pgsched.tasks t
          where t.next_run_at is not null and t.enabled and t.queue > w.name order by t.queue limit 1)
  from used w
  where w.name is not null
)
select name from used where name is not null
$$;
