-- Who may call what. The roles and their rights on tables belong to the server and come with `pgsched migrate --roles`; what
-- is here holds with and without them.
--
-- A function runs with the rights of whoever calls it, but for those below that must reach further than their callers: they
-- run as the owner of the schema, look up names in pg_catalog alone (what is ours is written with its schema), and nobody
-- may call them who was not given the right. What every INSERT and claim runs is not among them: changing the role and the
-- path costs time for each row.

revoke execute on all functions in schema pgsched from public;

-- What an INSERT runs by itself, and what only computes: of no use without rights on tables.
grant execute on function
  pgsched.is_forward, pgsched.cron_number, pgsched.cron_problem, pgsched.check_schedule, pgsched.wake_sleepers,
  pgsched.block_task, pgsched.group_steps, pgsched.group_edges, pgsched.group_problem, pgsched.check_group,
  pgsched.limits_problem, pgsched.interval_parts, pgsched.declaration, pgsched.may_change, pgsched.queues_in_use
to public;

-- For programs that may insert and no more.
alter function pgsched.schedule security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.run_now security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.enable security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.disable security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.cancel security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.retry security definer set search_path = pg_catalog, pg_temp;

-- For programs that take locks and must not touch those of others.
alter function pgsched.lock security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.renew_lock security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.unlock security definer set search_path = pg_catalog, pg_temp;

-- For workers: a partition can only be made by the owner of its table.
alter function pgsched.make_partitions security definer set search_path = pg_catalog, pg_temp;

-- Triggers of the few rows that wait for others, whose schedule is edited, or that are settings: they write into tables that
-- whoever inserts or edits may not. A deferred trigger may even run as another role than the one that inserted.
alter function pgsched.add_dependencies security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.change_dependencies security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.watch_dependencies security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.forget_dependencies security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.replan_task security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.announce_queue security definer set search_path = pg_catalog, pg_temp;
