-- Works with programs of version 12 of the schema and later.
--
-- A copy of a database has the tasks of the original, and workers on the copy would run them a second time. So the data
-- itself notes which database it belongs to: the system identifier of the server, which initdb draws, and the oid of the
-- database in it. A dump that was restored elsewhere, and a database made from a template, carry the note of the original.
-- docs/copies.md.

create table pgsched.database_identity (
  only_row boolean not null default true,
  system_identifier bigint,
  database_oid bigint not null,
  database_name text not null,
  noted_at timestamptz not null default now(),
  noted_by text,
  held_at timestamptz,
  held_by text,
  constraint database_identity_pkey primary key (only_row),
  constraint there_must_be_one_database_identity check (only_row)
);
comment on table pgsched.database_identity is
  'The database that the tasks belong to, in one row. Workers do not start in any other database until somebody adopts it. No row: not noted yet; workers start.';
comment on constraint there_must_be_one_database_identity on pgsched.database_identity is 'There is no second row.';
comment on column pgsched.database_identity.only_row is 'There is no other row.';
comment on column pgsched.database_identity.system_identifier is
  'Of the server, by pg_control_system(). Null: the role that noted it may not call that function; then only the oid is compared.';
comment on column pgsched.database_identity.database_oid is
  'Of the database in that server. A rename keeps it; create database gives a new one.';
comment on column pgsched.database_identity.database_name is 'The name at that time, for people: it is not compared.';
comment on column pgsched.database_identity.noted_at is 'Since when the tasks belong to it.';
comment on column pgsched.database_identity.noted_by is 'Who noted it: the role that migrated, or who adopted it.';
comment on column pgsched.database_identity.held_at is
  'Since when workers are held back, whatever the identity: for copies of a whole server, which have the same. Null: they are not.';
comment on column pgsched.database_identity.held_by is 'Who held them back.';

create function pgsched.system_identifier() returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if has_function_privilege('pg_catalog.pg_control_system()', 'execute') then
    return (select s.system_identifier from pg_control_system() s);
  end if;
  return null;
end $$;
comment on function pgsched.system_identifier is
  'The system identifier of this server; null if the role may not call pg_control_system().';

create function pgsched.database_state() returns table (
  state text, problem text, system_identifier text, database_oid bigint, database_name text,
  noted_system_identifier text, noted_database_oid bigint, noted_database_name text, noted_at timestamptz, noted_by text,
  held_at timestamptz, held_by text
)
language plpgsql stable rows 1
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  -- As text: the number is larger than those that JSON keeps exactly.
  system_identifier := pgsched.system_identifier()::text;
  database_name := current_database();
  select d.oid::bigint into database_oid from pg_database d where d.datname = database_name;
  select i.system_identifier::text, i.database_oid, i.database_name, i.noted_at, i.noted_by, i.held_at, i.held_by
  into noted_system_identifier, noted_database_oid, noted_database_name, noted_at, noted_by, held_at, held_by
  from pgsched.database_identity i;
  if noted_database_oid is null then
    state := 'unnoted';
  elsif noted_system_identifier <> system_identifier or noted_database_oid <> database_oid then
    state := 'copy';
    problem := format('this database is a copy: its tasks belong to database %I (oid %s) of system %s, and this is database %I '
      '(oid %s) of system %s; ''pgsched database adopt'' lets workers run them here',
      noted_database_name, noted_database_oid, coalesce(noted_system_identifier, 'unknown'),
      database_name, database_oid, coalesce(system_identifier, 'unknown'));
  elsif held_at is not null then
    state := 'held';
    problem := format('workers have been held back from database %I since %s%s; ''pgsched database adopt'' lets them start',
      database_name, to_char(held_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), ' by ' || held_by);
  else
    state := 'original';
  end if;
  return next;
end $$;
comment on function pgsched.database_state is
  'Whether the tasks belong to this database. state is original, copy (they belong to another database), held (workers are held back) or unnoted. problem says why workers do not start, in a sentence; null if they do.';

create function pgsched.note_database() returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  insert into pgsched.database_identity (system_identifier, database_oid, database_name, noted_by)
  select s.system_identifier::bigint, s.database_oid, s.database_name, session_user from pgsched.database_state() s
  on conflict on constraint database_identity_pkey do nothing;
  return found;
end $$;
comment on function pgsched.note_database is
  'For pgsched migrate: notes that the tasks belong to this database, unless a database has been noted. Returns whether it was.';

create function pgsched.adopt_database(adopted_by text default null) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  now_in pgsched.database_identity;
begin
  if exists (select from pgsched.database_state() s where s.state = 'original') then
    return false;
  end if;
  select true, s.system_identifier::bigint, s.database_oid, s.database_name, now(), coalesce(adopted_by, session_user), null, null
  into now_in from pgsched.database_state() s;
  insert into pgsched.database_identity as i select (now_in).*
  on conflict on constraint database_identity_pkey do update
  set (system_identifier, database_oid, database_name, noted_at, noted_by, held_at, held_by) = (
    excluded.system_identifier, excluded.database_oid, excluded.database_name, excluded.noted_at, excluded.noted_by, null, null);
  return true;
end $$;
comment on function pgsched.adopt_database is
  'Lets the tasks belong to this database: workers start and run them here, even if the original runs them too. Also ends a hold. Returns whether that changed anything.
adopted_by: Who says so, for people. Default: the role.';

create function pgsched.hold_database(held_by text default null) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.note_database();
  update pgsched.database_identity i
  set held_at = now(), held_by = coalesce(hold_database.held_by, session_user)
  where i.held_at is null;
  return found;
end $$;
comment on function pgsched.hold_database is
  'Keeps workers from starting in this database until somebody adopts it: for a copy of a whole server, which cannot be told from the original. Workers that already run continue. Returns whether that changed anything.
held_by: Who says so, for people. Default: the role.';

create function pgsched.refuse_copy() returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  problem text := (select s.problem from pgsched.database_state() s);
begin
  if problem is not null then
    raise object_not_in_prerequisite_state using message = problem;
  end if;
end $$;
comment on function pgsched.refuse_copy is 'For workers: fails unless the tasks belong to this database.';

create or replace function pgsched.register_worker(
  worker uuid, queues text[], task_types text[], concurrency integer, lease interval default '30 seconds',
  client text default null, code_version text default null, hostname text default 'unknown', pid integer default 0,
  protocol integer default 1
) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if protocol is distinct from 1 then
    raise feature_not_supported using
      message = format('protocol must be %s, which this schema speaks, got %s', pgsched.protocol_version(), protocol);
  end if;
  perform pgsched.refuse_copy();
  perform pgsched.check_worker_call(queues, task_types, concurrency, 10000, lease);
  insert into pgsched.workers as w (
    id, hostname, pid, queues, task_types, concurrency, lease, pgsched_version, code_version, state)
  values (worker, left(hostname, 255), pid, queues, task_types, concurrency, lease, left(client, 200), code_version, 'active')
  on conflict on constraint workers_pkey do update
  set (hostname, pid, queues, task_types, concurrency, lease, pgsched_version, code_version, heartbeat_at) = (
    excluded.hostname, excluded.pid, excluded.queues, excluded.task_types, excluded.concurrency, excluded.lease,
    excluded.pgsched_version, excluded.code_version, now());
  -- So that an insert of these types is not taken for one that nobody runs. What another program has registered stays.
  perform pgsched.register((
    select jsonb_agg(jsonb_build_object('task_type', k.task_type))
    from unnest(task_types) as k(task_type)
    where not exists (
      select from pgsched.handlers h
      where h.task_type = k.task_type and h.retired_at is null and (h.payload_schema is not null
        or h.result_schema is not null or h.description is not null or h.version is not null or h.strict or h.durable
        or exists (select from pgsched.task_defaults d where d.kind = 'handler' and d.name = h.task_type)))));
  return pgsched.protocol_version();
end $$;

create or replace function pgsched.replan(id bigint) returns timestamptz
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(replan.id);
  present constant timestamptz := clock_timestamp();
  due timestamptz;
begin
  if task.schedule_type = 'one_time' then
    raise object_not_in_prerequisite_state using message = format('task %s has no schedule to plan', task.id);
  elsif task.status in ('running', 'blocked') then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be planned afresh before its run ends', task.id, task.status);
  end if;
  -- An origin of the interval that nobody gave is the instant of the INSERT or of an edit (pgsched.book_new). Where the clock was
  -- ahead then, no tick would come before it.
  update pgsched.tasks t
  set planned_from = present,
    start_date = case when t.schedule_type = 'repeating' and t.start_date > present
        and (t.start_date = t.planned_from or t.start_date <= t.created_at + interval '1 minute')
      then present else t.start_date end
  where t.id = task.id
  returning t.next_run_at into due;
  return due;
end $$;

create or replace function pgsched.make_partitions(days_ahead integer default 7) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
  set standard_conforming_strings = 'on' as $$
-- Makes the partitions from today (UTC) to `days_ahead` days on. Built aside and attached, which unlike
-- CREATE TABLE ... PARTITION OF does not lock out readers and writers of the other partitions. Rows that an absent
-- partition sent to the default one are moved. Days are days of UTC, whatever the zone of the session; where partitions were
-- cut otherwise once, a day gets the time that they leave, and the default partition takes the rest.
--
-- Where today has no partition, statements are under way that insert into the default one: each that found it before the
-- attachment and locks it afterwards would be refused. So such a day is attached while nobody inserts; where that does not come
-- about within a tenth of a second, the next time.
#variable_conflict use_variable
declare
  parent text;
  by_column text;
  columns text;
  day timestamptz;
  part text;
  span record;
  made integer := 0;
  waits constant text := current_setting('lock_timeout');
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
          perform set_config('lock_timeout', waits, true);
        end if;
        execute format(
          'create table pgsched.%I (like pgsched.%I including defaults including constraints including generated)', part,
          parent);
        execute format('alter table pgsched.%I replica identity full', part);
        -- Named, for users may have added columns, to some in another order.
        select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
        from pg_attribute a
        where a.attrelid = ('pgsched.' || part)::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
        execute format(
          'with moved as (delete from pgsched.%I where %I >= %L and %I < %L returning %s) '
          'insert into pgsched.%I (%s) select %s from moved',
          parent || '_default', by_column, span.begins, by_column, span.ends, columns, part, columns, columns);
        execute format(
          'alter table pgsched.%I attach partition pgsched.%I for values from (%L) to (%L)', parent, part, span.begins,
          span.ends);
        made := made + 1;
      exception
        -- A partition of another kind is in the way, or a row came into the default one meanwhile: the next time.
        when invalid_object_definition or check_violation or lock_not_available then null;
      end;
    end loop;
  end loop;
  return made;
end $$;

revoke execute on function
  pgsched.system_identifier, pgsched.database_state, pgsched.note_database, pgsched.adopt_database, pgsched.hold_database,
  pgsched.refuse_copy
  from public;

-- Whoever may claim may also see whether this is a copy.
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_proc p cross join lateral aclexplode(p.proacl) a
    where p.oid = 'pgsched.claim_limited'::regproc and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
  loop
    execute format('grant execute on function pgsched.system_identifier, pgsched.database_state, pgsched.refuse_copy to %s',
      one.grantee);
    execute format('grant select on pgsched.database_identity to %s', one.grantee);
  end loop;
end $$;

do $$
begin
  perform pgsched.note_database();
end $$;
