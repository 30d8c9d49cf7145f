-- Works with programs of version 12 of the schema and later.
--
-- NOTIFY fails a whole transaction at its commit when the server's notification queue is full, and any session that
-- listens, in any database, and stays in a transaction fills it: from half a queue on, pgsched sends nothing. And a day
-- of the history is dropped in the same time however many days there are, and is made without a wait for who reads them.

create function pgsched.notify(channel text, payload text) returns void
language plpgsql as $$
#variable_conflict use_variable
-- A notification only makes things faster: workers poll, and read cancels, requests and changed queues with their
-- heartbeat. So it may be left out, and an INSERT or an outcome must not fail for it. The other half is left to what
-- one transaction may send at once, and to programs whose notifications are not optional.
begin
  if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.<) 0.5 then
    perform pg_catalog.pg_notify(channel, payload);
  end if;
end $$;
comment on function pgsched.notify is
  'For the schema: sends a notification, unless half of the server''s notification queue is in use: a full one would fail the commit.';

-- Every function that notifies does it by that one. Their newest text is taken from the catalog: nothing else of them
-- changes, neither their rights nor their comments.
do $$
declare
  caller record;
begin
  for caller in
    select p.oid
    from pg_catalog.pg_proc p
    where p.pronamespace = 'pgsched'::regnamespace and p.proname <> 'notify' and p.prosrc ~ '\mpg_notify\('
    order by p.proname, p.oid
  loop
    execute regexp_replace(pg_get_functiondef(caller.oid), '(\mpg_catalog\.)?\mpg_notify\(', 'pgsched.notify(', 'g');
  end loop;
end $$;

-- A year of days: the partition is looked up by itself, not measured with all others, and of the history only what the
-- drop needs is locked, not each of its days.
create or replace function pgsched.drop_history(part text, ended_before timestamptz) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
  set standard_conforming_strings = 'on' as $$
#variable_conflict use_variable
-- Drops a partition of the history. It needs the table for itself for a moment, and whoever comes meanwhile waits behind it:
-- so it waits for a tenth of a second at the most, and then says false. So it does while something of the users' (a view, a
-- foreign key) depends on the partition. Its bounds are text, as in history_days: written and read in UTC.
declare
  day record;
begin
  select p.relname::text as parent, c.relname::text as part into day
  from pg_class c
  join pg_inherits i on i.inhrelid = c.oid
  join pg_class p on p.oid = i.inhparent
  where c.oid = to_regclass('pgsched.' || quote_ident(drop_history.part)) and p.relnamespace = 'pgsched'::regnamespace
    and p.relname in ('executions', 'execution_logs', 'missed_ticks', 'durable_steps')
    and (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''[^'']+''\) TO \(''([^'']+)''\)'))[1]::timestamptz
      <= drop_history.ended_before;
  if not found then
    raise invalid_parameter_value using
      message = format('%s is no partition of the history that was over at %s', part, ended_before);
  end if;
  perform set_config('lock_timeout', '100ms', true);
  execute format('lock table only pgsched.%I in access exclusive mode', day.parent);
  if day.parent = 'durable_steps' then
    -- The steps of runs that are not over are needed: they go to the default partition.
    execute format('alter table pgsched.durable_steps detach partition pgsched.%I', day.part);
    execute format(
      'insert into pgsched.durable_steps select s.* from pgsched.%I s '
      'join pgsched.durable_runs r on r.task_id = s.task_id and r.began_at = s.began_at '
      'join pgsched.tasks t on t.id = s.task_id and t.completed_at is null', day.part);
  end if;
  execute format('drop table pgsched.%I', day.part);
  perform set_config('lock_timeout', '0', true);
  return true;
exception
  when lock_not_available or deadlock_detected or undefined_table or dependent_objects_still_exist then
    return false;
end $$;

-- A day that is made waits for nobody for long, since the readers of the history wait behind it.
create or replace function pgsched.make_partitions(days_ahead integer default 7) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
  set standard_conforming_strings = 'on' as $$
-- Makes the partitions from today (UTC) to `days_ahead` days on. Built aside and attached, which unlike
-- CREATE TABLE ... PARTITION OF does not lock out readers and writers of the other partitions. Rows that an absent
-- partition sent to the default one are moved. Days are days of UTC, whatever the zone of the session; where partitions were
-- cut otherwise once, a day gets the time that they leave, and the default partition takes the rest. To attach one needs the
-- default partition for itself, and whoever reads the history meanwhile waits behind it: so it waits for a tenth of a second
-- at the most, as while a dump reads it, and leaves the day to the next call.
--
-- Where today has no partition, statements are under way that insert into the default one: each that found it before the
-- attachment and locks it afterwards would be refused. So such a day is attached while nobody inserts.
#variable_conflict use_variable
declare
  waits constant text := current_setting('lock_timeout');
  parent text;
  by_column text;
  columns text;
  day timestamptz;
  part text;
  span record;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('pgsched.make_partitions'));
  foreach parent in array array['executions', 'execution_logs', 'missed_ticks', 'durable_steps'] loop
    by_column := case parent when 'executions' then 'started_at' when 'execution_logs' then 'logged_at'
      when 'missed_ticks' then 'noted_at' else 'began_at' end;
    for offset_days in 0..days_ahead loop
      day := date_trunc('day', now()) + offset_days * interval '1 day';
      part := parent || '_' || to_char(day, 'YYYYMMDD');
      continue when to_regclass('pgsched.' || part) is not null;
      select b.at as begins, least(day + interval '1 day', (
          select min(o.begins) from pgsched.history_days('infinity') o where o.parent = parent and o.begins >= b.at)) as ends
      into span
      from (
        select day as at
        union
        select o.ends from pgsched.history_days('infinity') o where o.parent = parent) b
      where b.at >= day and b.at < day + interval '1 day' and not exists (
        select from pgsched.history_days('infinity') o where o.parent = parent and o.begins <= b.at and o.ends > b.at)
      order by 2 desc, 1
      limit 1;
      continue when not found;
      begin
        if offset_days = 0 then
          perform set_config('lock_timeout', '100ms', true);
          execute format('lock table pgsched.%I in share mode', parent);
        end if;
        execute format(
          'create table pgsched.%I (like pgsched.%I including defaults including constraints including generated)', part,
          parent);
        execute format('alter table pgsched.%I replica identity full', part);
        -- Named, for users may have added columns, to some in another order.
        select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
        from pg_attribute a
        where a.attrelid = ('pgsched.' || part)::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
        perform set_config('lock_timeout', '100ms', true);
        execute format(
          'with moved as (delete from pgsched.%I where %I >= %L and %I < %L returning %s) '
          'insert into pgsched.%I (%s) select %s from moved',
          parent || '_default', by_column, span.begins, by_column, span.ends, columns, part, columns, columns);
        execute format(
          'alter table pgsched.%I attach partition pgsched.%I for values from (%L) to (%L)', parent, part, span.begins,
          span.ends);
        perform set_config('lock_timeout', waits, true);
        made := made + 1;
      exception
        -- A partition of another kind is in the way, a row came into the default one meanwhile, or somebody reads that: the
        -- next time.
        when invalid_object_definition or check_violation or lock_not_available or deadlock_detected then null;
      end;
    end loop;
  end loop;
  return made;
end $$;
