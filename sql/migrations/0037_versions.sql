-- Works with programs of version 12 of the schema and later.
--
-- The register knows the order of the versions of a handler's code, so that a payload of the next version waits during a
-- rolling deployment instead of dying on a worker of the last one.

alter table pgsched.handlers
  add column versions jsonb not null default '[]',
  add column misfit_at timestamptz,
  add column misfit_task_id bigint,
  add constraint versions_must_be_a_list check (jsonb_typeof(versions) = 'array');
comment on column pgsched.handlers.versions is
  'The last 20 versions of the code that registered it, the newest last, in the order in which they came first: objects with version, code (what tells it from others) and since.';
comment on column pgsched.handlers.misfit_at is
  'When a payload last did not fit an older version of the code, and its task was left to a newer one.';
comment on column pgsched.handlers.misfit_task_id is 'The task of that payload.';
comment on constraint versions_must_be_a_list on pgsched.handlers is 'What appends to it needs one.';

create function pgsched.code_of(version text, payload_schema jsonb) returns text
language sql immutable
return md5(coalesce(version, '') || ' ' || coalesce(nullif(payload_schema, 'null'), '{}')::text);
comment on function pgsched.code_of is
  'For the schema: what tells a version of a handler''s code from others: the version, and the schema of its payload, for applications that name none.';

create function pgsched.with_version(versions jsonb, version text, payload_schema jsonb, newest boolean) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  code text := pgsched.code_of(version, payload_schema);
  known boolean := versions @> jsonb_build_array(jsonb_build_object('code', code));
begin
  if known and (not newest or versions -> -1 ->> 'code' = code) then
    return versions;
  end if;
  return (
    select coalesce(jsonb_agg(v.value order by v.place), '[]')
    from jsonb_array_elements(versions) with ordinality as v(value, place)
    where v.value ->> 'code' <> code and v.place > jsonb_array_length(versions) - 19
  ) || jsonb_build_object('version', version, 'code', code, 'since', now());
end $$;
comment on function pgsched.with_version is
  'For the schema: the versions of a handler with one that registers: a new one is the newest, a known one stays where it is unless a deployment says that it is the newest.';

update pgsched.handlers h set versions = pgsched.with_version('[]', h.version, h.payload_schema, false);

create or replace function pgsched.register(handlers jsonb) returns text[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- Each is an object with task_type, and what it says of defaults, payload_schema, result_schema, description, version
-- and strict; newest is said by deployments. In the order of the types, so that workers that start together cannot deadlock.
declare
  entry jsonb;
  wanted jsonb;
  written text[] := '{}';
begin
  for entry in select g.value from jsonb_array_elements(handlers) g order by g.value ->> 'task_type' loop
    wanted := jsonb_build_object(
      'payload_schema', entry -> 'payload_schema', 'result_schema', entry -> 'result_schema',
      'description', entry -> 'description', 'version', entry -> 'version',
      'strict', coalesce(entry -> 'strict', 'false'), 'retired_at', null,
      'defaults', jsonb_populate_record(null::pgsched.task_defaults, coalesce(nullif(entry -> 'defaults', 'null'), '{}')));
    update pgsched.handlers h set seen_at = now()
    where h.task_type = entry ->> 'task_type' and h.seen_at < now() - interval '1 hour';
    continue when exists (
      select from pgsched.handlers h left join pgsched.task_defaults d on d.kind = 'handler' and d.name = h.task_type
      where h.task_type = entry ->> 'task_type' and jsonb_strip_nulls(jsonb_build_object(
          'payload_schema', h.payload_schema, 'result_schema', h.result_schema, 'description', h.description,
          'version', h.version, 'strict', h.strict, 'retired_at', h.retired_at,
          'defaults', coalesce(to_jsonb(d), '{}') - array['kind', 'name']))
        = jsonb_strip_nulls(wanted)
        and (not coalesce((entry ->> 'newest')::boolean, false)
          or h.versions -> -1 ->> 'code' = pgsched.code_of(entry ->> 'version', entry -> 'payload_schema')));
    insert into pgsched.handlers as h (task_type, payload_schema, result_schema, description, version, strict, versions)
    values (
      entry ->> 'task_type', nullif(entry -> 'payload_schema', 'null'), nullif(entry -> 'result_schema', 'null'),
      entry ->> 'description', entry ->> 'version', (wanted ->> 'strict')::boolean,
      pgsched.with_version('[]', entry ->> 'version', entry -> 'payload_schema', true))
    on conflict (task_type) do update
    set (payload_schema, result_schema, description, version, strict, registered_at, seen_at, retired_at, versions) = (
      excluded.payload_schema, excluded.result_schema, excluded.description, excluded.version, excluded.strict, now(),
      now(), null::timestamptz, pgsched.with_version(h.versions, excluded.version, excluded.payload_schema,
        coalesce((entry ->> 'newest')::boolean, false)));
    perform pgsched.set_defaults('handler', entry ->> 'task_type', entry -> 'defaults');
    written := written || (entry ->> 'task_type');
  end loop;
  return written;
end $$;

create function pgsched.note_misfit(
  task_id bigint, task_type text, version text, payload_schema jsonb,
  out newer jsonb, out waits integer, out seconds double precision
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  versions jsonb;
  mine constant jsonb := jsonb_build_object('code', pgsched.code_of(version, payload_schema));
begin
  select h.versions into versions from pgsched.handlers h where h.task_type = note_misfit.task_type;
  if versions @> jsonb_build_array(mine) and not (versions -> -1) @> mine then
    newer := versions -> -1;
    select count(*), coalesce(extract(epoch from clock_timestamp() - min(e.started_at)), 0) into waits, seconds
    from pgsched.executions e
    where e.task_id = note_misfit.task_id and e.status = 'cancelled' and e.attempt = 0
      and e.error like 'payload does not fit handler %, and waits for newer code%'
      and e.fencing_token > coalesce((
        select max(c.fencing_token) from pgsched.executions c where c.task_id = note_misfit.task_id and c.attempt > 0), 0);
    -- Many may meet it at once: the row is written now and then only.
    update pgsched.handlers h set misfit_at = now(), misfit_task_id = note_misfit.task_id
    where h.task_type = note_misfit.task_type and (h.misfit_at is null or h.misfit_at < now() - interval '5 seconds');
  end if;
end $$;
comment on function pgsched.note_misfit is
  'For workers whose handler a payload does not fit: the newest version of the handler''s code when theirs is older (else null), how often the task has waited for it and for how many seconds; notes it in the register.';

revoke execute on function pgsched.note_misfit from public;

-- Who may register may ask.
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_proc p cross join lateral aclexplode(p.proacl) a
    where p.oid = 'pgsched.register'::regproc and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
  loop
    execute format('grant execute on function pgsched.note_misfit to %s', one.grantee);
  end loop;
end $$;

-- Payloads that are changed: by the rules of an INSERT, many at once, and with a retry.

create function pgsched.recheck_payload() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  payload_schema jsonb;
begin
  select coalesce(h.payload_schema, '{}') into payload_schema
  from pgsched.handlers h where h.task_type = new.task_type and h.strict and h.retired_at is null;
  if payload_schema is not null then
    perform pgsched.check_payload(new.task_type, payload_schema, new.payload);
  end if;
  return new;
end $$;
comment on function pgsched.recheck_payload is
  'For the schema: refuses a payload that is edited to what its strict handler would refuse.';

create trigger recheck_payload before update of payload, task_type on pgsched.tasks
  for each row
  when (new.payload is distinct from old.payload or new.task_type is distinct from old.task_type)
  execute function pgsched.recheck_payload();

create function pgsched.merge_patch(target jsonb, patch jsonb) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  key text;
  value jsonb;
begin
  if jsonb_typeof(patch) <> 'object' then
    return patch;
  elsif jsonb_typeof(target) is distinct from 'object' then
    target := '{}';
  end if;
  for key, value in select e.key, e.value from jsonb_each(patch) e loop
    target := case when value = 'null' then target - key
      else target || jsonb_build_object(key, pgsched.merge_patch(target -> key, value)) end;
  end loop;
  return target;
end $$;
comment on function pgsched.merge_patch is
  'JSON with the changes that a merge patch (RFC 7396) makes: what it has is set, what is null in it is removed, objects are merged, all else is replaced.';

create function pgsched.edit_payloads(
  ids bigint[], patch jsonb, dry_run boolean default false, out id bigint, out refusal text
) returns setof record
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
  wanted jsonb;
begin
  if jsonb_typeof(patch) is distinct from 'object' then
    raise invalid_parameter_value using
      message = format('patch must be an object, got %s', coalesce(jsonb_typeof(patch), 'null')), column = 'patch';
  end if;
  for task in
    select t.* from pgsched.tasks t
    where t.id = any(ids) and (t.status in ('pending', 'blocked') or t.status = 'running' and t.schedule_type <> 'one_time')
    order by t.id for no key update
  loop
    wanted := pgsched.merge_patch(task.payload, patch);
    continue when wanted = task.payload;
    id := task.id;
    refusal := null;
    begin
      update pgsched.tasks t set payload = wanted where t.id = task.id;
      if dry_run then
        raise sqlstate 'PG004';  -- undoes it
      end if;
    exception
      when sqlstate 'PG004' then
        null;
      when data_exception or integrity_constraint_violation or object_not_in_prerequisite_state then
        refusal := sqlerrm;
    end;
    return next;
  end loop;
end $$;
comment on function pgsched.edit_payloads is
  E'Changes the payloads of tasks that wait for a run (pending, blocked, schedules) by a merge patch (RFC 7396), in one transaction; returns those that it changes, with a refusal for each that stays as it is because its new payload is not allowed.\n'
  'ids: The tasks.\n'
  'patch: An object: what it has is set, what is null in it is removed, objects are merged, all else is replaced.\n'
  'dry_run: True: changes nothing and only returns which it would be.';
revoke execute on function pgsched.edit_payloads, pgsched.recheck_payload from public;

do $$
begin
  perform set_config('pgsched.rights', coalesce(p.proacl::text, ''), true)
  from pg_proc p where p.oid = 'pgsched.retry'::regproc;
end $$;
drop function pgsched.retry;
create function pgsched.retry(id bigint, payload jsonb default null) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
begin
  perform pgsched.lock_steps(array[retry.id]);
  task := pgsched.locked_task(retry.id);
  if task.status not in ('dead', 'cancelled') and not (task.status = 'pending' and task.attempts > 0) then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be retried', task.id, task.status);
  elsif payload is not null and task.inserted_by is distinct from session_user
    and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update') then
    raise insufficient_privilege using
      message = format('task %s was inserted by another role: its payload cannot be changed', task.id);
  end if;
  update pgsched.tasks t
  set status = 'pending', attempts = 0, died_at = null, completed_at = null, updated_at = now(), enabled = true,
    next_run_at = now(), fired = null, payload = coalesce(retry.payload, t.payload),
    -- A schedule that ended goes on from now; a one-time task keeps its nominal time.
    planned_from = case when t.schedule_type = 'one_time' or task.status = 'pending' then t.planned_from else clock_timestamp() end
  where t.id = task.id;
  perform pgsched.rejoin(task.id);
end $$;
comment on function pgsched.retry is
  E'Gives a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now; with another payload if one is given. Where it is a step, its group goes on.\n'
  'id: The task.\n'
  'payload: What it has as its payload from now on; null: what it has.';
do $$
declare
  one record;
begin
  if current_setting('pgsched.rights') <> '' then
    revoke execute on function pgsched.retry from public;
    for one in
      select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee, a.is_grantable
      from aclexplode(current_setting('pgsched.rights')::aclitem[]) a
    loop
      execute format('grant execute on function pgsched.retry to %s%s', one.grantee,
        case when one.is_grantable then ' with grant option' end);
    end loop;
  end if;
end $$;
