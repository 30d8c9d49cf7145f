-- Works with programs of version 12 of the schema and later.
--
-- The register: the database knows the handlers of the application, and what their tasks have unless somebody says
-- otherwise. A row's options are resolved where it is made: what the row says, else what its handler says, else its
-- queue, else pgsched. Null means "not said", so these columns have no defaults of their own any more.

create table pgsched.task_defaults (
  kind text,
  name text,
  queue pgsched.queue_name, priority pgsched.priority, task_name text, tags pgsched.tags, metadata pgsched.metadata,
  tenant_id text, user_id text, created_by text, timezone text, on_missed pgsched.on_missed,
  catchup_window pgsched.catchup_window, overlap pgsched.overlap, jitter pgsched.jitter,
  max_attempts pgsched.max_attempts, backoff pgsched.backoff, backoff_delay pgsched.backoff_delay,
  backoff_max pgsched.backoff_max, backoff_factor pgsched.backoff_factor, backoff_jitter pgsched.backoff_jitter,
  timeout pgsched.timeout, dependency_mode pgsched.dependency_mode, on_dependency_dead pgsched.on_dependency_dead,
  concurrency_key pgsched.concurrency_key, alert_if_no_success_for interval, alert_if_running_for interval,
  primary key (kind, name),
  constraint kind_must_be_handler_or_queue check (kind in ('handler', 'queue')),
  constraint name_must_have_1_to_200_characters check (length(name) between 1 and 200),
  constraint queue_is_said_by_handlers_alone check (kind = 'handler' or queue is null)
);
comment on table pgsched.task_defaults is
  'What a handler or a queue says of all of its tasks; the row of a task says more, and the handler more than the queue. Null: nothing.';
comment on column pgsched.task_defaults.kind is 'Who says it: handler or queue.';
comment on column pgsched.task_defaults.name is 'The task_type of the handler, or the name of the queue.';
comment on column pgsched.task_defaults.queue is 'What a task has that says nothing of queue.';
comment on column pgsched.task_defaults.priority is 'What a task has that says nothing of priority.';
comment on column pgsched.task_defaults.task_name is 'What a task has that says nothing of task_name.';
comment on column pgsched.task_defaults.tags is 'What a task has that says nothing of tags.';
comment on column pgsched.task_defaults.metadata is 'What a task has that says nothing of metadata.';
comment on column pgsched.task_defaults.tenant_id is 'What a task has that says nothing of tenant_id.';
comment on column pgsched.task_defaults.user_id is 'What a task has that says nothing of user_id.';
comment on column pgsched.task_defaults.created_by is 'What a task has that says nothing of created_by.';
comment on column pgsched.task_defaults.timezone is 'What a task has that says nothing of timezone.';
comment on column pgsched.task_defaults.on_missed is 'What a task has that says nothing of on_missed.';
comment on column pgsched.task_defaults.catchup_window is 'What a task has that says nothing of catchup_window.';
comment on column pgsched.task_defaults.overlap is 'What a task has that says nothing of overlap.';
comment on column pgsched.task_defaults.jitter is 'What a task has that says nothing of jitter.';
comment on column pgsched.task_defaults.max_attempts is 'What a task has that says nothing of max_attempts.';
comment on column pgsched.task_defaults.backoff is 'What a task has that says nothing of backoff.';
comment on column pgsched.task_defaults.backoff_delay is 'What a task has that says nothing of backoff_delay.';
comment on column pgsched.task_defaults.backoff_max is 'What a task has that says nothing of backoff_max.';
comment on column pgsched.task_defaults.backoff_factor is 'What a task has that says nothing of backoff_factor.';
comment on column pgsched.task_defaults.backoff_jitter is 'What a task has that says nothing of backoff_jitter.';
comment on column pgsched.task_defaults.timeout is 'What a task has that says nothing of timeout.';
comment on column pgsched.task_defaults.dependency_mode is 'What a task has that says nothing of dependency_mode.';
comment on column pgsched.task_defaults.on_dependency_dead is 'What a task has that says nothing of on_dependency_dead.';
comment on column pgsched.task_defaults.concurrency_key is 'What a task has that says nothing of concurrency_key.';
comment on column pgsched.task_defaults.alert_if_no_success_for is 'What a task has that says nothing of alert_if_no_success_for.';
comment on column pgsched.task_defaults.alert_if_running_for is 'What a task has that says nothing of alert_if_running_for.';
comment on constraint task_defaults_pkey on pgsched.task_defaults is 'One row for each handler and queue.';
comment on constraint kind_must_be_handler_or_queue on pgsched.task_defaults is 'Nobody else says anything.';
comment on constraint name_must_have_1_to_200_characters on pgsched.task_defaults is 'As types have.';
comment on constraint queue_is_said_by_handlers_alone on pgsched.task_defaults is 'A queue knows which one it is.';

create table pgsched.handlers (
  task_type pgsched.task_type primary key,
  payload_schema jsonb,
  result_schema jsonb,
  description text,
  version text,
  strict boolean not null default false,
  registered_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),
  retired_at timestamptz
);
comment on table pgsched.handlers is
  'The register: each type that an application has a handler for, written by its workers when they start and by pgsched sync.';
comment on column pgsched.handlers.task_type is 'The type. ''*'': a handler for the types that no other has.';
comment on column pgsched.handlers.payload_schema is 'The JSON Schema of the payload. Null: not told.';
comment on column pgsched.handlers.result_schema is 'The JSON Schema of the result. Null: not told.';
comment on column pgsched.handlers.description is 'What the handler does, from its docstring.';
comment on column pgsched.handlers.version is 'The version of the code that registered it last.';
comment on column pgsched.handlers.strict is
  'True: an INSERT whose payload lacks a required key, has an unknown one or one of another JSON type is refused.';
comment on column pgsched.handlers.registered_at is 'When what is registered last changed.';
comment on column pgsched.handlers.seen_at is 'When a worker or pgsched sync last registered it, to the hour.';
comment on column pgsched.handlers.retired_at is
  'When pgsched sync found it no longer in the code. An INSERT of the type is told of as one that nobody has a handler for.';
comment on constraint handlers_pkey on pgsched.handlers is 'One row a type.';

alter table pgsched.settings add column unknown_types text not null default 'tell',
  add constraint unknown_types_must_be_accept_tell_or_refuse check (unknown_types in ('accept', 'tell', 'refuse'));
comment on column pgsched.settings.unknown_types is
  'What becomes of an INSERT of a type that is not in the register: accept, tell (a NOTICE names the type most like it) or refuse. While the register is empty each is accepted.';
comment on constraint unknown_types_must_be_accept_tell_or_refuse on pgsched.settings is 'One of three words.';

alter table pgsched.tasks
  alter queue drop default, alter priority drop default, alter tags drop default, alter metadata drop default,
  alter timezone drop default, alter on_missed drop default, alter overlap drop default,
  alter max_attempts drop default, alter backoff drop default, alter backoff_delay drop default,
  alter backoff_max drop default, alter dependency_mode drop default, alter on_dependency_dead drop default;

create function pgsched.resolved(task pgsched.tasks) returns pgsched.tasks
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  said pgsched.task_defaults;
  queue_said pgsched.task_defaults;
begin
  select d.* into said from pgsched.task_defaults d where d.kind = 'handler' and d.name = task.task_type;
  task.queue := coalesce(task.queue, said.queue, 'default');
  select d.* into queue_said from pgsched.task_defaults d where d.kind = 'queue' and d.name = task.queue;
  task.priority := coalesce(task.priority, said.priority, queue_said.priority, 5);
  task.task_name := coalesce(task.task_name, said.task_name, queue_said.task_name);
  task.tags := coalesce(task.tags, said.tags, queue_said.tags, '{}');
  task.metadata := coalesce(task.metadata, said.metadata, queue_said.metadata, '{}');
  task.tenant_id := coalesce(task.tenant_id, said.tenant_id, queue_said.tenant_id);
  task.user_id := coalesce(task.user_id, said.user_id, queue_said.user_id);
  task.created_by := coalesce(task.created_by, said.created_by, queue_said.created_by);
  task.timezone := coalesce(task.timezone, said.timezone, queue_said.timezone, 'UTC');
  task.on_missed := coalesce(task.on_missed, said.on_missed, queue_said.on_missed, 'once');
  task.catchup_window := coalesce(task.catchup_window, said.catchup_window, queue_said.catchup_window);
  task.overlap := coalesce(task.overlap, said.overlap, queue_said.overlap, 'skip');
  task.jitter := coalesce(task.jitter, said.jitter, queue_said.jitter);
  task.max_attempts := coalesce(task.max_attempts, said.max_attempts, queue_said.max_attempts, 3);
  task.backoff := coalesce(task.backoff, said.backoff, queue_said.backoff, 'exponential');
  task.backoff_delay := coalesce(task.backoff_delay, said.backoff_delay, queue_said.backoff_delay, '5 seconds');
  task.backoff_max := coalesce(task.backoff_max, said.backoff_max, queue_said.backoff_max, '1 hour');
  task.backoff_factor := coalesce(task.backoff_factor, said.backoff_factor, queue_said.backoff_factor);
  task.backoff_jitter := coalesce(task.backoff_jitter, said.backoff_jitter, queue_said.backoff_jitter);
  task.timeout := coalesce(task.timeout, said.timeout, queue_said.timeout);
  task.dependency_mode := coalesce(task.dependency_mode, said.dependency_mode, queue_said.dependency_mode, 'all');
  task.on_dependency_dead := coalesce(task.on_dependency_dead, said.on_dependency_dead,
    queue_said.on_dependency_dead, 'cancel');
  task.concurrency_key := coalesce(task.concurrency_key, said.concurrency_key, queue_said.concurrency_key);
  task.alert_if_no_success_for := coalesce(task.alert_if_no_success_for, said.alert_if_no_success_for,
    queue_said.alert_if_no_success_for);
  task.alert_if_running_for := coalesce(task.alert_if_running_for, said.alert_if_running_for,
    queue_said.alert_if_running_for);
  return task;
end $$;
comment on function pgsched.resolved is
  'A task with the options that it does not say, as an INSERT would have them: from its handler, else its queue, else pgsched.';

create function pgsched.check_type(task_type text, payload jsonb) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  registered boolean;
  retired_at timestamptz;
  payload_schema jsonb;
begin
  select true, h.retired_at, h.payload_schema into registered, retired_at, payload_schema
  from pgsched.handlers h where h.task_type = check_type.task_type;
  if registered is null or retired_at is not null then
    perform pgsched.tell_unknown(task_type, retired_at);
  else
    perform pgsched.check_payload(task_type, coalesce(payload_schema, '{}'), payload);
  end if;
end $$;
comment on function pgsched.check_type is
  'For the schema: tells of a type that is not registered, and refuses a payload that its strict handler would refuse.';

create function pgsched.tell_unknown(task_type text, retired_at timestamptz) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  rule text;
  nearest text;
  said text;
begin
  if task_type like 'pgsched.%' or not exists (select from pgsched.handlers)
    or exists (select from pgsched.handlers h where h.task_type = '*' and h.retired_at is null) then
    return;
  end if;
  select coalesce((select s.unknown_types from pgsched.settings s), 'tell') into rule;
  if rule = 'accept' then
    return;
  end if;
  nearest := pgsched.nearest_type(task_type);
  said := case
    when retired_at is null then format('task_type %L is not registered: no worker has had a handler for it', task_type)
    else format('task_type %L is retired: its handler is no longer in the code', task_type) end;
  if rule = 'refuse' then
    raise invalid_parameter_value using message = said, hint = coalesce('Did you mean ' || quote_literal(nearest) || '?', ''),
      column = 'task_type', table = 'tasks', schema = 'pgsched';
  end if;
  raise notice using errcode = 'PG001', message = said, hint = coalesce('Did you mean ' || quote_literal(nearest) || '?', ''),
    column = 'task_type', table = 'tasks', schema = 'pgsched';
end $$;
comment on function pgsched.tell_unknown is
  'For the schema: does with a type that is not registered what the settings say: accepts it, raises a NOTICE (of SQLSTATE PG001), or refuses it.';

create function pgsched.nearest_type(task_type text) returns text
language sql stable
set search_path = pg_catalog, pg_temp as $$
  -- By the share of pairs of neighbouring characters that two names have in common (Dice's coefficient).
  select h.task_type
  from pgsched.handlers h,
    lateral (select array(select substr(nearest_type.task_type, n, 2)
      from generate_series(0, length(nearest_type.task_type)) n) as pairs) given,
    lateral (select array(select substr(h.task_type, n, 2) from generate_series(0, length(h.task_type)) n) as pairs) own,
    lateral (select 2.0 * (select count(*) from unnest(own.pairs) p where p = any(given.pairs))
      / (cardinality(own.pairs) + cardinality(given.pairs)) as likeness) l
  where h.retired_at is null and h.task_type <> '*' and l.likeness >= 0.5
  order by l.likeness desc, h.task_type
  limit 1
$$;
comment on function pgsched.nearest_type is 'The registered type whose name is most like another; null when none is.';

create function pgsched.check_payload(task_type text, payload_schema jsonb, payload jsonb) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Required keys, unknown keys, and the JSON types of keys that have simple ones: what must hold further down only the
-- handler's own code knows, and says when the task runs.
declare
  problem text;
begin
  select format('missing argument %L', k) into problem
  from jsonb_array_elements_text(payload_schema -> 'required') k where not payload ? k limit 1;
  if problem is null and payload_schema -> 'additionalProperties' = 'false' then
    select format('unexpected argument %L', left(k, 100)) into problem
    from jsonb_object_keys(payload) k where not coalesce(payload_schema -> 'properties' ? k, false) limit 1;
  end if;
  if problem is null then
    select format('argument %L must be %s, got %s', p.key, array_to_string(w.types, ' or '),
      jsonb_typeof(payload -> p.key))
    into problem
    from jsonb_each(payload_schema -> 'properties') p,
      lateral (select array(
        select t #>> '{}' from jsonb_path_query(p.value, 'strict $.type ? (@.type() == "string")', silent => true) t
        union select t #>> '{}' from jsonb_path_query(p.value, 'strict $.type[*]', silent => true) t
        union select t #>> '{}' from jsonb_path_query(p.value, 'strict $.anyOf[*].type', silent => true) t) as types) w
    where payload ? p.key and w.types <> '{}'
      and jsonb_array_length(coalesce(p.value -> 'anyOf', '[]')) = (
        select count(*) from jsonb_array_elements(coalesce(p.value -> 'anyOf', '[]')) one where one ? 'type')
      and not (jsonb_typeof(payload -> p.key) = any(w.types)
        or jsonb_typeof(payload -> p.key) = 'number' and 'integer' = any(w.types)
          and (payload ->> p.key)::numeric = trunc((payload ->> p.key)::numeric))
    order by p.key limit 1;
  end if;
  if problem is not null then
    raise invalid_parameter_value using message = format('payload does not fit handler %L: %s', task_type, problem),
      column = 'payload', table = 'tasks', schema = 'pgsched';
  end if;
end $$;
comment on function pgsched.check_payload is
  'For the schema: refuses a payload that lacks a required key, has an unknown one, or one of another JSON type.';

create or replace function pgsched.prepare_task() returns trigger
language plpgsql as $$
#variable_conflict use_variable
-- Run for every row, in the session of whoever inserts it: so each name has its schema.
declare
  said pg_catalog.text;
  plain boolean;
  to_check boolean;
begin
  -- A row that says all of these is complete, as the ticks of a schedule are: what is null in it is none.
  if not ((new.queue, new.priority, new.tags, new.metadata, new.timezone, new.on_missed, new.overlap,
    new.max_attempts, new.backoff, new.backoff_delay, new.backoff_max, new.dependency_mode,
    new.on_dependency_dead) is not null) then
    said := new.task_type operator(pg_catalog.||) '/' operator(pg_catalog.||) coalesce(new.queue::pg_catalog.text, '');
    if pg_catalog.current_setting('pgsched.plain', true) operator(pg_catalog.=) said then
      -- Nobody says anything of such tasks, as this transaction has seen before.
      if new.queue is null then new.queue := 'default'; end if;
      if new.priority is null then new.priority := 5; end if;
      if new.tags is null then new.tags := '{}'; end if;
      if new.metadata is null then new.metadata := '{}'; end if;
      if new.timezone is null then new.timezone := 'UTC'; end if;
      if new.on_missed is null then new.on_missed := 'once'; end if;
      if new.overlap is null then new.overlap := 'skip'; end if;
      if new.max_attempts is null then new.max_attempts := 3; end if;
      if new.backoff is null then new.backoff := 'exponential'; end if;
      if new.backoff_delay is null then new.backoff_delay := '5 seconds'; end if;
      if new.backoff_max is null then new.backoff_max := '1 hour'; end if;
      if new.dependency_mode is null then new.dependency_mode := 'all'; end if;
      if new.on_dependency_dead is null then new.on_dependency_dead := 'cancel'; end if;
    elsif exists (
        select from pgsched.handlers r
        where r.task_type operator(pg_catalog.=) new.task_type and not r.strict and r.retired_at is null)
      and not exists (
        select from pgsched.task_defaults d
        where d.kind operator(pg_catalog.=) 'handler' and d.name operator(pg_catalog.=) new.task_type
          or d.kind operator(pg_catalog.=) 'queue' and d.name operator(pg_catalog.=) coalesce(new.queue, 'default')) then
      -- In one statement, which a transaction of a single row begins sooner than thirteen.
      select coalesce(new.queue, 'default'), coalesce(new.priority, 5), coalesce(new.tags, '{}'),
          coalesce(new.metadata, '{}'), coalesce(new.timezone, 'UTC'), coalesce(new.on_missed, 'once'),
          coalesce(new.overlap, 'skip'), coalesce(new.max_attempts, 3), coalesce(new.backoff, 'exponential'),
          coalesce(new.backoff_delay, '5 seconds'), coalesce(new.backoff_max, '1 hour'),
          coalesce(new.dependency_mode, 'all'), coalesce(new.on_dependency_dead, 'cancel')
      into new.queue, new.priority, new.tags, new.metadata, new.timezone, new.on_missed, new.overlap,
          new.max_attempts, new.backoff, new.backoff_delay, new.backoff_max, new.dependency_mode,
          new.on_dependency_dead;
      perform pg_catalog.set_config('pgsched.plain', said, true);
    else
      select coalesce(new.queue, h.queue, 'default'),
        coalesce(new.priority, h.priority, q.priority, 5),
        coalesce(new.task_name, h.task_name, q.task_name),
        coalesce(new.tags, h.tags, q.tags, '{}'),
        coalesce(new.metadata, h.metadata, q.metadata, '{}'),
        coalesce(new.tenant_id, h.tenant_id, q.tenant_id),
        coalesce(new.user_id, h.user_id, q.user_id),
        coalesce(new.created_by, h.created_by, q.created_by),
        coalesce(new.timezone, h.timezone, q.timezone, 'UTC'),
        coalesce(new.on_missed, h.on_missed, q.on_missed, 'once'),
        coalesce(new.catchup_window, h.catchup_window, q.catchup_window),
        coalesce(new.overlap, h.overlap, q.overlap, 'skip'),
        coalesce(new.jitter, h.jitter, q.jitter),
        coalesce(new.max_attempts, h.max_attempts, q.max_attempts, 3),
        coalesce(new.backoff, h.backoff, q.backoff, 'exponential'),
        coalesce(new.backoff_delay, h.backoff_delay, q.backoff_delay, '5 seconds'),
        coalesce(new.backoff_max, h.backoff_max, q.backoff_max, '1 hour'),
        coalesce(new.backoff_factor, h.backoff_factor, q.backoff_factor),
        coalesce(new.backoff_jitter, h.backoff_jitter, q.backoff_jitter),
        coalesce(new.timeout, h.timeout, q.timeout),
        coalesce(new.dependency_mode, h.dependency_mode, q.dependency_mode, 'all'),
        coalesce(new.on_dependency_dead, h.on_dependency_dead, q.on_dependency_dead, 'cancel'),
        coalesce(new.concurrency_key, h.concurrency_key, q.concurrency_key),
        coalesce(new.alert_if_no_success_for, h.alert_if_no_success_for, q.alert_if_no_success_for),
        coalesce(new.alert_if_running_for, h.alert_if_running_for, q.alert_if_running_for),
        h.name is null and q.name is null and r.strict is not true, r.task_type is null or r.strict
      into new.queue, new.priority, new.task_name, new.tags, new.metadata, new.tenant_id, new.user_id,
        new.created_by, new.timezone, new.on_missed, new.catchup_window, new.overlap, new.jitter,
        new.max_attempts, new.backoff, new.backoff_delay, new.backoff_max, new.backoff_factor,
        new.backoff_jitter, new.timeout, new.dependency_mode, new.on_dependency_dead, new.concurrency_key,
        new.alert_if_no_success_for, new.alert_if_running_for,
        plain, to_check
      from (values (1)) one
      left join pgsched.handlers r on r.task_type operator(pg_catalog.=) new.task_type and r.retired_at is null
      left join pgsched.task_defaults h
        on h.kind operator(pg_catalog.=) 'handler' and h.name operator(pg_catalog.=) new.task_type
      left join pgsched.task_defaults q
        on q.kind operator(pg_catalog.=) 'queue' and q.name operator(pg_catalog.=) coalesce(new.queue, h.queue, 'default');
      if to_check then
        perform pgsched.check_type(new.task_type, new.payload);
      end if;
      if plain then
        perform pg_catalog.set_config('pgsched.plain', said, true);
      end if;
    end if;
  end if;
  if new.schedule_type is null then
    new.schedule_type := case
      when new.cron_expression is not null then 'recurring'
      when new.repeat_interval is not null then 'repeating'
      else 'one_time' end;
  end if;
  if new.timezone operator(pg_catalog.<>) 'UTC' then
    perform pgsched.check_timezone(new.timezone);
  end if;
  if new.cron_expression is not null and (new.status operator(pg_catalog.<>) 'pending' or new.scheduled_for is not null) then
    perform pgsched.check_schedule(new);  -- any other is read to book it
  end if;
  if new.task_type operator(pg_catalog.=) 'pgsched.group' then
    perform pgsched.check_group(new.payload);
  end if;
  if new.status operator(pg_catalog.=) 'pending' then
    if new.schedule_type operator(pg_catalog.=) 'one_time' then
      new.scheduled_for := coalesce(new.scheduled_for, new.next_run_at, new.start_date, pg_catalog.now());
      new.next_run_at := coalesce(
        new.next_run_at,
        new.scheduled_for operator(pg_catalog.+) coalesce(new.jitter operator(pg_catalog.*) pg_catalog.random(), '0'));
    else
      new := pgsched.book_new(new, pg_catalog.statement_timestamp());
    end if;
    if pg_catalog.cardinality(new.depends_on) operator(pg_catalog.>) 0 then
      new := pgsched.block_task(new, (select pg_catalog.count(distinct u) from pg_catalog.unnest(new.depends_on) u)::integer);
      return new;
    end if;
    if new.enabled and exists (
      select from pgsched.workers w
      where w.sleeping_until operator(pg_catalog.>) new.next_run_at
        and (w.queues operator(pg_catalog.@>) array[new.queue::pg_catalog.text]
          or new.queue operator(pg_catalog.~~) any (w.patterns))) then
      perform pg_catalog.pg_notify('pgsched', new.queue);
    end if;
  end if;
  return new;
end $$;

create or replace function pgsched.schedule(
  task_type text, payload jsonb default null, run_at timestamptz default null, delay interval default null,
  cron_expression text default null, timezone text default null, repeat_interval interval default null,
  repeat_count integer default null, start_date timestamptz default null, end_date timestamptz default null,
  queue text default null, priority integer default null, idempotency_key text default null,
  task_name text default null, tags text[] default null, metadata jsonb default null, tenant_id text default null,
  user_id text default null, created_by text default null, max_attempts integer default null, backoff text default null,
  backoff_delay interval default null, backoff_max interval default null, timeout interval default null,
  on_missed text default null, catchup_window interval default null, overlap text default null,
  jitter interval default null, enabled boolean default null, parent_id bigint default null,
  depends_on bigint[] default null, dependency_mode text default null, on_dependency_dead text default null,
  concurrency_key text default null, backoff_factor double precision default null,
  backoff_jitter double precision default null, alert_if_no_success_for interval default null,
  alert_if_running_for interval default null
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  new_id bigint;
  tries integer := 0;
begin
  if run_at is not null and delay is not null then
    raise invalid_parameter_value using message = 'run_at and delay exclude each other';
  end if;
  if (run_at is not null or delay is not null) and (cron_expression is not null or repeat_interval is not null) then
    raise invalid_parameter_value using
      message = 'run_at and delay are for one-time tasks; a schedule begins with start_date';
  end if;
  while tries < 10 loop
    insert into pgsched.tasks as t (
      task_type, payload, scheduled_for, cron_expression, timezone, repeat_interval, repeat_count, start_date, end_date,
      queue, priority, idempotency_key, task_name, tags, metadata, tenant_id, user_id, created_by, max_attempts,
      backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter, enabled, parent_id,
      depends_on, dependency_mode, on_dependency_dead, concurrency_key, backoff_factor, backoff_jitter,
      alert_if_no_success_for, alert_if_running_for)
    values (
      schedule.task_type, coalesce(schedule.payload, '{}'),
      -- A day of a delay is 24 hours, whatever the zone of the session.
      coalesce(run_at, (now() at time zone interval '0' + delay) at time zone interval '0'), schedule.cron_expression,
      schedule.timezone, schedule.repeat_interval, schedule.repeat_count, schedule.start_date,
      schedule.end_date, schedule.queue, schedule.priority, schedule.idempotency_key,
      schedule.task_name, schedule.tags, schedule.metadata, schedule.tenant_id,
      schedule.user_id, schedule.created_by, schedule.max_attempts,
      schedule.backoff, schedule.backoff_delay,
      schedule.backoff_max, schedule.timeout, schedule.on_missed,
      schedule.catchup_window, schedule.overlap, schedule.jitter, coalesce(schedule.enabled, true),
      schedule.parent_id, coalesce(schedule.depends_on, '{}'), schedule.dependency_mode,
      schedule.on_dependency_dead, schedule.concurrency_key, schedule.backoff_factor,
      schedule.backoff_jitter, schedule.alert_if_no_success_for, schedule.alert_if_running_for)
    on conflict (idempotency_key) where idempotency_key is not null do nothing
    returning t.id into new_id;
    if new_id is not null then
      return new_id;
    end if;
    exit when schedule.idempotency_key is null;
    select t.id into new_id from pgsched.tasks t where t.idempotency_key = schedule.idempotency_key;
    if new_id is not null then
      return new_id;
    end if;
    -- The row that was in the way has been deleted meanwhile: insert again.
    tries := tries + 1;
  end loop;
  raise integrity_constraint_violation using
    message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
end $$;

create or replace function pgsched.fire_group(id bigint, token bigint) returns integer
language plpgsql as $$
-- Makes the children of a group's tick, and lets the group wait for them. For the worker that claimed it: with another
-- fencing token nothing happens and null is returned. The claim does not count as an attempt: the one that joins does.
#variable_conflict use_variable
declare
  task pgsched.tasks;
  ids bigint[];
  made integer;
begin
  select * into task from pgsched.tasks t
  where t.id = fire_group.id and t.fencing_token = token and t.status = 'running' for no key update;
  if not found then
    return null;
  end if;
  select array_agg(nextval(pg_get_serial_sequence('pgsched.tasks', 'id')) order by s.place) into ids
  from pgsched.group_steps(task.payload) s;
  update pgsched.tasks t
  set status = 'blocked', next_run_at = null, locked_by = null, locked_until = null, attempts = greatest(t.attempts - 1, 0),
    fired = ids, waiting_for = cardinality(ids), last_run_at = clock_timestamp(), updated_at = now()
  where t.id = task.id;
  insert into pgsched.dependencies (upstream_id, task_id) select unnest(ids), task.id;
  insert into pgsched.tasks (
    id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
    scheduled_for, next_run_at, timezone, max_attempts, backoff, backoff_delay, backoff_max, timeout, depends_on,
    on_dependency_dead, concurrency_key, parent_id, observed, backoff_factor, backoff_jitter)
  select ids[s.place], s.step ->> 'task_type', s.name, coalesce(s.step ->> 'queue', h.queue, task.queue),
    coalesce((s.step ->> 'priority')::smallint, h.priority, task.priority),
    coalesce(s.step -> 'payload', '{}'),
    coalesce(s.step -> 'metadata', h.metadata, task.metadata),
    case when s.step ? 'tags' then array(select jsonb_array_elements_text(s.step -> 'tags'))
      else coalesce(h.tags, task.tags) end,
    -- A group that somebody runs before its time: its steps are for now, or those behind the first would wait for it.
    task.tenant_id, task.user_id, task.created_by, 'one_time', least(task.scheduled_for, now()),
    clock_timestamp(), task.timezone,
    (s.step ->> 'max_attempts')::integer, s.step ->> 'backoff', (s.step ->> 'backoff_delay')::interval,
    (s.step ->> 'backoff_max')::interval, (s.step ->> 'timeout')::interval,
    coalesce(w.upstream, '{}'), s.step ->> 'on_dependency_dead',
    coalesce(s.step ->> 'concurrency_key', h.concurrency_key, task.concurrency_key), task.id, true,
    (s.step ->> 'backoff_factor')::double precision, (s.step ->> 'backoff_jitter')::double precision
  from pgsched.group_steps(task.payload) s
  left join pgsched.task_defaults h on h.kind = 'handler' and h.name = s.step ->> 'task_type'
  left join (
    select e.name, array_agg(ids[o.place] order by o.place) as upstream
    from pgsched.group_edges(task.payload) e join pgsched.group_steps(task.payload) o on o.name = e.waits_for
    group by e.name) w on w.name = s.name
  order by s.place;
  get diagnostics made = row_count;
  if made < cardinality(ids) then
    raise integrity_constraint_violation using message = format(
      'of %s steps %s were not inserted: a trigger or a row security policy on pgsched.tasks keeps them out',
      cardinality(ids), cardinality(ids) - made);
  end if;
  return made;
end $$;

-- Whoever inserts reads the register and what queues say, as he sees whether a worker sleeps.
do $$
declare
  role text;
begin
  for role in
    select distinct p.grantee from information_schema.column_privileges p
    where p.table_schema = 'pgsched' and p.table_name = 'workers' and p.column_name = 'sleeping_until'
      and p.privilege_type = 'SELECT' and p.grantee <> current_user
  loop
    execute format('grant select on pgsched.handlers, pgsched.task_defaults to %1$s',
      case role when 'PUBLIC' then 'public' else quote_ident(role) end);
    execute format('grant select (unknown_types) on pgsched.settings to %1$s',
      case role when 'PUBLIC' then 'public' else quote_ident(role) end);
  end loop;
end $$;

create or replace function pgsched.run_now(id bigint) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(run_now.id);
  child bigint;
begin
  if task.schedule_type = 'one_time' and task.status = 'running' then
    raise object_not_in_prerequisite_state using message = format('task %s is running already', task.id);
  end if;
  if task.schedule_type = 'one_time' and task.status = 'pending' then
    update pgsched.tasks t set next_run_at = least(t.next_run_at, now()), enabled = true where t.id = task.id;
    return task.id;
  end if;
  insert into pgsched.tasks as t (
    task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, timezone,
    max_attempts, backoff, backoff_delay, backoff_max, timeout, concurrency_key, parent_id, backoff_factor, backoff_jitter,
    on_missed, overlap, dependency_mode, on_dependency_dead)  -- all that is to be said: it is complete
  values (
    task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
    task.user_id, task.created_by, task.timezone, task.max_attempts, task.backoff, task.backoff_delay,
    task.backoff_max, task.timeout, task.concurrency_key, task.id, task.backoff_factor, task.backoff_jitter,
    'once', 'skip', 'all', 'cancel')
  returning t.id into child;
  if child is null then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  end if;
  return child;
end $$;

create or replace function pgsched.backfill(
  id bigint, since timestamptz, until timestamptz, max_ticks integer default 100, dry_run boolean default false,
  out tick timestamptz, out task_id bigint, out outcome text
) returns setof record
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The ticks from `since` to `until`, both included. Each becomes a child, by the key that it would have if ticks overlapped: so
-- never two, whoever asks at once. Where ticks must not overlap, each waits for the one before.
declare
  task pgsched.tasks := pgsched.locked_task(backfill.id);
  ticks timestamptz[] := '{}';
  before bigint;
  problem text := case
    when not coalesce(isfinite(since) and isfinite(until), false) then 'since and until must be given, and finite'
    when until < since then format('until must not be before since, got %s and %s', until, since)
    when until > clock_timestamp() then format('until must not be in the future, got %s', until)
    when max_ticks is null or max_ticks not between 1 and 100000 then format('max_ticks must be between 1 and 100000, got %s', max_ticks) end;
begin
  if problem is not null then
    raise invalid_parameter_value using message = problem;
  elsif task.schedule_type = 'one_time' or task.status = 'cancelled' then
    raise object_not_in_prerequisite_state using message =
      format('task %s is %s, and has no ticks to run', task.id, case when task.status = 'cancelled' then 'cancelled' else 'one_time' end);
  end if;
  tick := pgsched.first_tick(task, since);
  while tick <= until loop
    if cardinality(ticks) = max_ticks then
      raise invalid_parameter_value using
        message = format('task %s has more than %s ticks from %s to %s: give a shorter range, or a larger max_ticks', task.id, max_ticks, since, until);
    end if;
    ticks := ticks || tick;
    tick := pgsched.first_tick(task, tick + interval '1 microsecond');
  end loop;
  for tick, task_id in
    select t.tick, min(known.id)
    from unnest(ticks) as t(tick)
    left join (
      select e.scheduled_for, e.task_id as id from pgsched.executions e
      where e.task_id = task.id and e.status = 'completed'
      union all
      select c.scheduled_for, c.id from pgsched.tasks c where c.parent_id = task.id) known on known.scheduled_for = t.tick
    group by t.tick
    order by t.tick
  loop
    outcome := 'ran';
    if task_id is null and task.status in ('pending', 'running', 'blocked') and tick >= task.scheduled_for then
      outcome := 'booked';
      task_id := task.id;
    elsif task_id is null then
      outcome := 'run';
      if not dry_run then
        insert into pgsched.tasks as t (
          task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
          scheduled_for, timezone, max_attempts, backoff, backoff_delay, backoff_max, backoff_factor, backoff_jitter,
          timeout, concurrency_key, parent_id, idempotency_key, depends_on, on_dependency_dead,
          on_missed, overlap, dependency_mode)
        values (
          task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
          task.user_id, task.created_by, 'one_time', tick, task.timezone, task.max_attempts, task.backoff,
          task.backoff_delay, task.backoff_max, task.backoff_factor, task.backoff_jitter, task.timeout, task.concurrency_key,
          task.id, format('tick:%s:%s', task.id, extract(epoch from tick)),
          case when task.overlap = 'skip' and before is not null then array[before] else '{}' end, 'run', 'once', 'skip', 'all')
        returning t.id into task_id;
        before := task_id;
      end if;
    end if;
    return next;
  end loop;
end $$;

create function pgsched.set_defaults(kind text, name text, defaults jsonb) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  who constant jsonb := jsonb_build_object('kind', kind, 'name', name);
  before jsonb;
  unknown text;
  wanted pgsched.task_defaults := jsonb_populate_record(null::pgsched.task_defaults, coalesce(defaults, '{}') || who);
begin
  select k into unknown from jsonb_object_keys(coalesce(nullif(defaults, 'null'), '{}')) k
  where k in ('kind', 'name') or not to_jsonb(wanted) ? k limit 1;
  if unknown is not null then
    raise invalid_parameter_value using
      message = format('defaults of %s %L: %s is no option that it may say', kind, name, left(unknown, 100));
  end if;
  delete from pgsched.task_defaults d where d.kind = set_defaults.kind and d.name = set_defaults.name
  returning to_jsonb(d) into before;
  if wanted = jsonb_populate_record(null::pgsched.task_defaults, who) then
    return before is not null;
  end if;
  insert into pgsched.task_defaults select (wanted).*;
  return before is distinct from to_jsonb(wanted);
end $$;
comment on function pgsched.set_defaults is
  'Sets the options that the tasks of a handler or a queue (kind) have unless somebody with more to say says otherwise, instead of those it had; {} takes them away. True if that changed something.';

create function pgsched.register(handlers jsonb) returns text[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- Each is an object with task_type, and what it says of defaults, payload_schema, result_schema, description, version
-- and strict. In the order of the types, so that workers that start together cannot deadlock.
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
        = jsonb_strip_nulls(wanted));
    insert into pgsched.handlers as h (task_type, payload_schema, result_schema, description, version, strict)
    values (
      entry ->> 'task_type', nullif(entry -> 'payload_schema', 'null'), nullif(entry -> 'result_schema', 'null'),
      entry ->> 'description', entry ->> 'version', (wanted ->> 'strict')::boolean)
    on conflict (task_type) do update
    set (payload_schema, result_schema, description, version, strict, registered_at, seen_at, retired_at) = (
      excluded.payload_schema, excluded.result_schema, excluded.description, excluded.version, excluded.strict, now(),
      now(), null::timestamptz);
    perform pgsched.set_defaults('handler', entry ->> 'task_type', entry -> 'defaults');
    written := written || (entry ->> 'task_type');
  end loop;
  return written;
end $$;
comment on function pgsched.register is
  'For workers: writes handlers into the register. Returns the types whose entry is new or has changed.';

revoke execute on function pgsched.register, pgsched.set_defaults from public;
