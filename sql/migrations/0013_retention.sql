-- Works with programs of version 12 of the schema and later.
-- What is deleted in the end: finished tasks by age and by number, for each queue or for all of them; the history by day.
-- As long as nobody says so, nothing is.
--
-- Who deletes is somebody with the advisory lock of pick_prunable(), a batch a transaction. A batch locks finished rows only,
-- never waits for one, and asks whether they are still needed when it has them: nobody can begin to need one that is locked.

alter table pgsched.queues
  drop constraint retention_must_not_be_negative,
  add constraint retention_must_not_be_negative check (pgsched.is_forward(retention)),
  add constraint retention_must_be_at_most_1000_years check (retention <= interval '1000 years'),
  add column retention_count integer
    constraint retention_count_must_not_be_negative check (retention_count >= 0),
  add column dead_retention interval
    constraint dead_retention_must_not_be_negative check (pgsched.is_forward(dead_retention))
    constraint dead_retention_must_be_at_most_1000_years check (dead_retention <= interval '1000 years'),
  add column dead_retention_count integer
    constraint dead_retention_count_must_not_be_negative check (dead_retention_count >= 0),
  add column archive boolean;
comment on column pgsched.queues.retention is
  'Completed and cancelled tasks older than this are deleted. Null: as the settings say; 1000 years: for ever.';
comment on column pgsched.queues.retention_count is
  'Of completed and cancelled tasks so many are kept, the latest. Null: as the settings say; 2147483647: all.';
comment on column pgsched.queues.dead_retention is
  'Dead tasks older than this are deleted. Null: as the settings say; 1000 years: for ever.';
comment on column pgsched.queues.dead_retention_count is
  'Of dead tasks so many are kept, the latest. Null: as the settings say; 2147483647: all.';
comment on column pgsched.queues.archive is
  'Tasks are copied to archived_tasks before they are deleted. Null: as the settings say.';

create table pgsched.settings (
  only_row boolean primary key default true
    constraint settings_must_have_one_row check (only_row),
  retention interval
    constraint retention_must_not_be_negative check (pgsched.is_forward(retention))
    constraint retention_must_be_at_most_1000_years check (retention <= interval '1000 years'),
  retention_count integer
    constraint retention_count_must_not_be_negative check (retention_count >= 0),
  dead_retention interval
    constraint dead_retention_must_not_be_negative check (pgsched.is_forward(dead_retention))
    constraint dead_retention_must_be_at_most_1000_years check (dead_retention <= interval '1000 years'),
  dead_retention_count integer
    constraint dead_retention_count_must_not_be_negative check (dead_retention_count >= 0),
  archive boolean not null default false,
  history_retention interval
    constraint history_retention_must_be_between_1_day_and_1000_years
    check (pgsched.is_forward(history_retention) and history_retention between interval '1 day' and interval '1000 years'),
  updated_at timestamptz not null default now()
);
insert into pgsched.settings default values;
comment on table pgsched.settings is 'What holds for queues that say nothing else, and for the history: one row.';
comment on column pgsched.settings.only_row is 'There is no other row.';
comment on column pgsched.settings.retention is
  'Completed and cancelled tasks older than this are deleted, where the queue says nothing else. Null: for ever.';
comment on column pgsched.settings.retention_count is
  'Of completed and cancelled tasks each queue keeps so many, where it says nothing else. Null: all.';
comment on column pgsched.settings.dead_retention is
  'Dead tasks older than this are deleted, where the queue says nothing else. Null: for ever.';
comment on column pgsched.settings.dead_retention_count is
  'Of dead tasks each queue keeps so many, where it says nothing else. Null: all.';
comment on column pgsched.settings.archive is
  'Tasks are copied to archived_tasks before they are deleted, where the queue says nothing else.';
comment on column pgsched.settings.history_retention is
  'Days of the history that ended longer ago are dropped: executions, log lines, missed ticks. Null: never.';
comment on column pgsched.settings.updated_at is 'When a setting last changed.';

-- In the order of the columns of tasks, behind one of its own: a later column of tasks is added here, too. No rules: what
-- was a task once may be kept whatever a task is later.
create table pgsched.archived_tasks (
  archived_at timestamptz not null default now(),
  like pgsched.tasks
);
create index archived_tasks_id on pgsched.archived_tasks (id);
create index archived_tasks_time on pgsched.archived_tasks using brin (archived_at);
comment on table pgsched.archived_tasks is 'Tasks that were deleted, if their queue asks for it: each as it was. Yours to empty.';
comment on column pgsched.archived_tasks.archived_at is 'When it was deleted.';

-- The finished rows of a queue in the order in which they end. A finish is no HOT update anyway, since it takes the row out
-- of the due clock's index; a claim does not touch this one.
create index if not exists tasks_finished on pgsched.tasks (queue, completed_at, id) where completed_at is not null;
create index if not exists tasks_dead_by_queue on pgsched.tasks (queue, died_at, id) where died_at is not null;
-- Who may still want to know the results of others: blocked, waiting, running or dead rows that depend on some.
create index if not exists tasks_dependents on pgsched.tasks (id) where cardinality(depends_on) > 0 and completed_at is null;

create function pgsched.retention_rules()
returns table (
  queue text, dead boolean, older_than interval, keep integer, archive boolean)
language sql stable as $$
-- What holds for each queue that has finished rows. Its names by one probe each, however many rows there are. Without a row,
-- older_than and keep nothing is deleted; 1000 years and the highest number are for ever.
with recursive used(dead, name) as (
  (select false, t.queue::text from pgsched.tasks t where t.completed_at is not null order by t.queue limit 1)
  union all
  (select true, t.queue::text from pgsched.tasks t where t.died_at is not null order by t.queue limit 1)
  union all
  select w.dead, case when w.dead
    then (select t.queue::text from pgsched.tasks t where t.died_at is not null and t.queue > w.name order by t.queue limit 1)
    else (select t.queue::text from pgsched.tasks t
          where t.completed_at is not null and t.queue > w.name order by t.queue limit 1) end
  from used w
  where w.name is not null
)
select u.name, u.dead, nullif(
    case when u.dead then coalesce(q.dead_retention, s.dead_retention) else coalesce(q.retention, s.retention) end,
    interval '1000 years'),
  nullif(
    case when u.dead then coalesce(q.dead_retention_count, s.dead_retention_count)
      else coalesce(q.retention_count, s.retention_count) end,
    2147483647),
  coalesce(q.archive, s.archive, false)
from used u
left join pgsched.queues q on q.name = u.name
left join pgsched.settings s on true
where u.name is not null
order by u.name, u.dead
$$;
comment on function pgsched.retention_rules is 'How long finished and dead tasks of each queue that has some are kept, and how many.';

create function pgsched.pick_prunable(
  queue text, dead boolean, from_at timestamptz, from_id bigint, to_at timestamptz, to_id bigint, most integer,
  out looked integer, out last_at timestamptz, out last_id bigint, out ids bigint[])
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
-- The next rows of a queue that ended behind one place and not behind another, locked, but for those that are still needed.
-- `looked` is null while somebody else prunes, and less than `most` when there are no more.
--
-- They are locked first and judged then, by statements that see what was committed by then: a row that depends on one of
-- them holds a lock on it from its insert on (check_dependencies), so none can come meanwhile.
declare
  observed_ids bigint[];
  parents bigint[];
  kept bigint[] := '{}';
  busy bigint[];
begin
  if not pg_try_advisory_xact_lock(hashtextextended('pgsched.prune', 0)) then
    return;
  end if;
  if dead then
    select count(*), (array_agg(p.died_at order by p.died_at desc, p.id desc))[1],
      (array_agg(p.id order by p.died_at desc, p.id desc))[1], array_agg(p.id),
      array_agg(p.id) filter (where p.observed), array_agg(distinct p.parent_id) filter (where p.parent_id is not null)
    into looked, last_at, last_id, ids, observed_ids, parents
    from (
      select t.id, t.died_at, t.observed, t.parent_id
      from pgsched.tasks t
      where t.queue = pick_prunable.queue and t.died_at is not null
        and (t.died_at, t.id) > (from_at, from_id) and (t.died_at, t.id) <= (to_at, to_id)
        and t.status = 'dead' and t.declared is null
      order by t.died_at, t.id
      limit most
      for update skip locked) p;
  else
    select count(*), (array_agg(p.completed_at order by p.completed_at desc, p.id desc))[1],
      (array_agg(p.id order by p.completed_at desc, p.id desc))[1], array_agg(p.id),
      array_agg(p.id) filter (where p.observed), array_agg(distinct p.parent_id) filter (where p.parent_id is not null)
    into looked, last_at, last_id, ids, observed_ids, parents
    from (
      select t.id, t.completed_at, t.observed, t.parent_id
      from pgsched.tasks t
      where t.queue = pick_prunable.queue and t.completed_at is not null
        and (t.completed_at, t.id) > (from_at, from_id) and (t.completed_at, t.id) <= (to_at, to_id)
        and t.status in ('completed', 'cancelled') and t.declared is null
      order by t.completed_at, t.id
      limit most
      for update skip locked) p;
  end if;
  if looked = 0 then
    ids := '{}';
    return;
  end if;
  -- Its result is asked for by whoever depends on it and has not ended, or is dead and may be tried again.
  if cardinality(observed_ids) > 0 then
    kept := kept || array(
      select u from pgsched.tasks d cross join lateral unnest(d.depends_on) u
      where cardinality(d.depends_on) > 0 and d.completed_at is null and u = any(observed_ids));
  end if;
  -- A group, a schedule, any task whose children have not all ended.
  kept := kept || array(
    select c.parent_id from pgsched.tasks c
    where c.parent_id = any(ids) and c.completed_at is null and c.died_at is null);
  if cardinality(parents) > 0 then
    -- A step of the tick under way: the group asks for it when it joins. A step stays as long as another step of it does.
    busy := array(
      select g.id from pgsched.tasks g
      where g.id = any(parents) and g.task_type = 'pgsched.group' and g.schedule_type = 'one_time'
        and (g.completed_at is null and g.died_at is null or exists (
          select from pgsched.tasks c where c.parent_id = g.id and c.completed_at is null and c.died_at is null)));
    kept := kept || array(
      select unnest(g.fired) from pgsched.tasks g
      where g.id = any(parents) and g.fired is not null and g.completed_at is null and g.died_at is null);
    if cardinality(busy) > 0 then
      kept := kept || array(select t.id from pgsched.tasks t where t.id = any(ids) and t.parent_id = any(busy));
    end if;
  end if;
  if cardinality(kept) > 0 then
    ids := array(select i from unnest(ids) i except select k from unnest(kept) k);
  end if;
end $$;
comment on function pgsched.pick_prunable is
  'For workers: locks the next finished tasks of a queue that nobody needs any more. Returns how many it looked at (null while somebody else prunes), where it stopped, and their ids.';

create function pgsched.delete_finished(
  ids bigint[], archive boolean, out completed integer, out cancelled integer, out dead integer)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
  -- A crash may bring the last ones back, and they are deleted again.
  perform set_config('synchronous_commit', 'off', true);
  if archive then
    insert into pgsched.archived_tasks
    select now(), t.* from pgsched.tasks t
    where t.id = any(ids) and t.status in ('completed', 'cancelled', 'dead');
  end if;
  with gone as (
    delete from pgsched.tasks t
    where t.id = any(ids) and t.status in ('completed', 'cancelled', 'dead')
    returning t.status
  )
  select count(*) filter (where g.status = 'completed'), count(*) filter (where g.status = 'cancelled'),
    count(*) filter (where g.status = 'dead')
  into completed, cancelled, dead
  from gone g;
end $$;
comment on function pgsched.delete_finished is
  'For workers: deletes the tasks of these that are completed, cancelled or dead, to the archive if that is said. Returns how many of each.';

create function pgsched.history_days(ended_before timestamptz)
returns table (parent text, part text, begins timestamptz, ends timestamptz, bytes bigint)
language sql stable as $$
-- The partitions of the history whose time was over by then, the oldest first.
select d.parent, d.part, d.bounds[1]::timestamptz, d.bounds[2]::timestamptz, pg_total_relation_size(d.id)
from (
  select i.inhrelid as id, p.relname::text as parent, c.relname::text as part,
    regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') as bounds
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  join pg_class p on p.oid = i.inhparent
  where p.relnamespace = 'pgsched'::regnamespace and p.relname in ('executions', 'execution_logs', 'missed_ticks')
) d
where d.bounds is not null and d.bounds[2]::timestamptz <= ended_before
order by d.bounds[2]::timestamptz, d.part
$$;
comment on function pgsched.history_days is 'The partitions of the history whose time was over by then, the oldest first.';

create function pgsched.drop_history(part text, ended_before timestamptz) returns boolean
language plpgsql as $$
-- Drops a partition of the history. It needs the table for itself for a moment, and whoever comes meanwhile waits behind it:
-- so it waits for a tenth of a second at the most, and then says false.
declare
  day record;
begin
  select * into day from pgsched.history_days(ended_before) d where d.part = drop_history.part;
  if not found then
    raise invalid_parameter_value using
      message = format('%s is no partition of the history that was over at %s', part, ended_before);
  end if;
  perform set_config('lock_timeout', '100ms', true);
  execute format('lock table pgsched.%I in access exclusive mode', day.parent);
  execute format('drop table pgsched.%I', day.part);
  perform set_config('lock_timeout', '0', true);
  return true;
exception
  when lock_not_available or deadlock_detected or undefined_table then
    return false;
end $$;
comment on function pgsched.drop_history is
  'For workers: drops a partition of the history whose time was over by then. False: somebody works with the history, try again.';

create function pgsched.hold_history(part text, ended_before timestamptz) returns boolean
language plpgsql as $$
-- Keeps rows from coming into a partition while it is copied. The history of today goes on.
begin
  if not exists (select from pgsched.history_days(ended_before) d where d.part = hold_history.part) then
    return false;
  end if;
  perform set_config('lock_timeout', '100ms', true);
  execute format('lock table pgsched.%I in share mode', part);
  return true;
exception
  when lock_not_available or undefined_table then
    return false;
end $$;
comment on function pgsched.hold_history is
  'For operators: lets nothing more into a partition of the history that was over by then, until the transaction ends.';

create function pgsched.prune_history(before timestamptz, most integer) returns integer
language plpgsql as $$
-- The history that no partition was made for in time: up to so many rows of the default partitions.
declare
  gone integer;
  number integer := 0;
begin
  delete from pgsched.executions_default where ctid = any(array(
    select ctid from pgsched.executions_default where started_at < before limit most));
  get diagnostics gone = row_count;
  number := number + gone;
  delete from pgsched.execution_logs_default where ctid = any(array(
    select ctid from pgsched.execution_logs_default where logged_at < before limit most));
  get diagnostics gone = row_count;
  number := number + gone;
  delete from pgsched.missed_ticks_default where ctid = any(array(
    select ctid from pgsched.missed_ticks_default where noted_at < before limit most));
  get diagnostics gone = row_count;
  return number + gone;
end $$;
comment on function pgsched.prune_history is
  'For workers: deletes rows of the history from before then that are in no partition of a day, up to so many of each kind.';

-- A task that depends on others locks them as a foreign key does: none of them can be deleted until it is committed. Those
-- that the same transaction has made need no lock.
create or replace function pgsched.check_dependencies(id bigint, upstream bigint[], made_by bigint default null) returns void
language plpgsql as $$
-- Refuses ids that are not there, and circles. `made_by`: the parent of a row that is being inserted.
declare
  unknown bigint;
begin
  perform from pgsched.tasks t
  where t.id = any(upstream) and t.xmin <> pg_current_xact_id()::xid
  order by t.id
  for key share;
  select u into unknown
  from unnest(upstream) u
  where not exists (select from pgsched.tasks t where t.id = u)
  limit 1;
  if unknown is not null then
    raise invalid_parameter_value using message = format('depends_on: task %s does not exist', unknown),
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  -- Nobody can wait for a row that was just made, except those made by the same statement, and the group that makes it.
  if check_dependencies.id = any(upstream) or exists (
    select from pgsched.dependencies d
    where d.upstream_id = check_dependencies.id and d.task_id is distinct from made_by) then
    if exists (
      with recursive above as (
        select u as id from unnest(upstream) u
        union
        select d.upstream_id from above join pgsched.dependencies d on d.task_id = above.id
      )
      select from above where above.id = check_dependencies.id
    ) then
      raise invalid_parameter_value using message = format('depends_on: task %s would wait for itself', check_dependencies.id),
        column = 'depends_on', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
end $$;

-- What changes a row but not its id does not wait for those that depend on it and are not committed yet.
create or replace function pgsched.locked_task(id bigint) returns pgsched.tasks
language plpgsql as $$
declare
  task pgsched.tasks;
begin
  select * into task from pgsched.tasks t where t.id = locked_task.id for no key update;
  if not found then
    raise no_data_found using message = format('task %s does not exist', id);
  end if;
  return task;
end $$;

create or replace function pgsched.change_tasks(action text, ids bigint[], dry_run boolean) returns setof bigint
language plpgsql as $$
declare
  one bigint;
  task pgsched.tasks;
begin
  if not dry_run then
    perform from pgsched.tasks t where t.id = any(ids) order by t.id for no key update;
  end if;
  for one in select t.id from pgsched.tasks t where t.id = any(ids) order by t.id loop
    -- Read again: it may have gone, or been cancelled, with another one.
    select * into task from pgsched.tasks t where t.id = one;
    continue when not found or not pgsched.may_change(action, task);
    if not dry_run then
      case action
        when 'enable' then perform pgsched.enable(one);
        when 'disable' then perform pgsched.disable(one);
        when 'run' then perform pgsched.run_now(one);
        when 'cancel' then perform pgsched.cancel(one);
        when 'retry' then perform pgsched.retry(one);
        when 'delete' then delete from pgsched.tasks t where t.id = one;
      end case;
    end if;
    return next one;
  end loop;
end $$;

-- Rights: workers may not delete tasks, but those that are finished, by these functions. Only the owner drops a partition.
revoke execute on function
  pgsched.retention_rules, pgsched.pick_prunable, pgsched.delete_finished, pgsched.history_days, pgsched.drop_history,
  pgsched.hold_history, pgsched.prune_history
from public;
alter function pgsched.pick_prunable security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.delete_finished security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.drop_history security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.hold_history security definer set search_path = pg_catalog, pg_temp;
alter function pgsched.prune_history security definer set search_path = pg_catalog, pg_temp;
