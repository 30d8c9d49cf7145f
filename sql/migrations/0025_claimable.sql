-- Works with programs of version 12 of the schema and later.
--
-- What a claim may take, said once for every statement that asks. The planner replaces a call by the expression: the plan is
-- the one of a query that spells it out, index tasks_due included. So it must stay a single select, and without settings.
create function pgsched.is_claimable(task pgsched.tasks) returns boolean
language sql stable parallel safe as $$
  select task.next_run_at is not null and task.enabled and task.next_run_at <= now()
    and (task.locked_until is null or task.locked_until < now())
$$;
comment on function pgsched.is_claimable is
  'For workers: whether a task may be claimed now, if a worker has a handler for it: it is due and enabled, and nobody has a lease on it.';
