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
