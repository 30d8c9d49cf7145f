-- The tables, their rules and their indexes.
--
-- A rule about one column lives in a domain: PostgreSQL checks a domain when the column is assigned, but a table's
-- checks at every update, and each task is updated twice (claim, finish) by statements that touch few columns.
-- A rule about several columns is a check of the table. Both are named so that the bare error says what is wrong.
--
-- Instants, numbers and nesting are those that every language can hold: a year 10000, infinity, a number of 5,000 digits
-- or 2,000 lists inside one another would break each worker that reads the row, and with it the whole claim.

create function pgsched.is_forward(value interval) returns boolean
language sql immutable as $$
  -- No part is negative. By its parts: the text of an interval follows the session's intervalstyle.
  select least(date_part('year', value), date_part('month', value), date_part('day', value),
    date_part('hour', value), date_part('minute', value), date_part('microsecond', value)) >= 0
$$;

create domain pgsched.task_type as text
  constraint task_type_must_have_1_to_200_characters check (length(value) between 1 and 200)
  constraint task_type_must_not_contain_control_characters check (value !~ '[[:cntrl:]]');
create domain pgsched.queue_name as text
  constraint queue_must_have_1_to_100_characters check (length(value) between 1 and 100)
  constraint queue_must_not_contain_control_characters check (value !~ '[[:cntrl:]]');
create domain pgsched.priority as smallint
  constraint priority_must_be_between_1_and_10 check (value between 1 and 10);
create domain pgsched.payload as jsonb
  constraint payload_must_be_a_json_object check (jsonb_typeof(value) = 'object')
  constraint payload_must_not_exceed_1_mib check (
    pg_column_size(value) < 65536 or octet_length(value::text) <= 1048576)
  constraint payload_must_not_be_nested_deeper_than_100_levels check (not jsonb_path_exists(value, '$.**{101}'))
  constraint payload_must_not_hold_numbers_beyond_1e308
  check (not jsonb_path_exists(value, '$.** ? (@ > 1e308 || @ < -1e308)'));
create domain pgsched.metadata as jsonb
  constraint metadata_must_be_a_json_object check (jsonb_typeof(value) = 'object')
  constraint metadata_must_not_exceed_1_mib check (
    pg_column_size(value) < 65536 or octet_length(value::text) <= 1048576)
  constraint metadata_must_not_be_nested_deeper_than_100_levels check (not jsonb_path_exists(value, '$.**{101}'))
  constraint metadata_must_not_hold_numbers_beyond_1e308
  check (not jsonb_path_exists(value, '$.** ? (@ > 1e308 || @ < -1e308)'));
create domain pgsched.tags as text[]
  constraint tags_must_not_contain_null check (array_position(value, null) is null)
  constraint tags_must_be_at_most_100 check (cardinality(value) <= 100);
create domain pgsched.schedule_type as text
  constraint schedule_type_must_be_one_time_recurring_or_repeating
  check (value in ('one_time', 'recurring', 'repeating'));
create domain pgsched.scheduled_for as timestamptz
  constraint scheduled_for_must_be_between_the_years_1_and_9999
  check (value >= '0001-01-02 00:00:00+00' and value < '9999-12-31 00:00:00+00');
create domain pgsched.start_date as timestamptz
  constraint start_date_must_be_between_the_years_1_and_9999
  check (value >= '0001-01-02 00:00:00+00' and value < '9999-12-31 00:00:00+00');
create domain pgsched.end_date as timestamptz
  constraint end_date_must_be_between_the_years_1_and_9999
  check (value >= '0001-01-02 00:00:00+00' and value < '9999-12-31 00:00:00+00');
create domain pgsched.next_run_at as timestamptz
  constraint next_run_at_must_be_between_the_years_1_and_9999
  check (value >= '0001-01-02 00:00:00+00' and value < '9999-12-31 00:00:00+00');
create domain pgsched.repeat_interval as interval
  constraint repeat_interval_must_be_at_least_1_millisecond
  check (value >= interval '1 millisecond' and pgsched.is_forward(value))
  constraint repeat_interval_must_be_at_most_1000_years check (value <= interval '1000 years');
create domain pgsched.repeat_count as integer
  constraint repeat_count_must_be_at_least_1 check (value >= 1);
create domain pgsched.execution_count as integer
  constraint execution_count_must_not_be_negative check (value >= 0);
create domain pgsched.on_missed as text
  constraint on_missed_must_be_once_skip_or_all check (value in ('once', 'skip', 'all'));
create domain pgsched.catchup_window as interval
  constraint catchup_window_must_not_be_negative check (pgsched.is_forward(value))
  constraint catchup_window_must_be_at_most_1000_years check (value <= interval '1000 years');
create domain pgsched.overlap as text
  constraint overlap_must_be_skip_or_allow check (value in ('skip', 'allow'));
create domain pgsched.jitter as interval
  constraint jitter_must_be_between_0_and_1_day check (value between interval '0' and interval '1 day');
create domain pgsched.task_status as text
  constraint status_must_be_a_status_of_a_task
  check (value in ('pending', 'running', 'blocked', 'completed', 'dead', 'cancelled'));
create domain pgsched.attempts as integer
  constraint attempts_must_not_be_negative check (value >= 0);
create domain pgsched.max_attempts as integer
  constraint max_attempts_must_be_between_1_and_1000 check (value between 1 and 1000);
create domain pgsched.backoff as text
  constraint backoff_must_be_exponential_linear_or_fixed check (value in ('exponential', 'linear', 'fixed'));
create domain pgsched.backoff_delay as interval
  constraint backoff_delay_must_not_be_negative check (pgsched.is_forward(value))
  constraint backoff_delay_must_be_at_most_1000_years check (value <= interval '1000 years');
create domain pgsched.backoff_max as interval
  constraint backoff_max_must_not_be_negative check (pgsched.is_forward(value))
  constraint backoff_max_must_be_at_most_1000_years check (value <= interval '1000 years');
create domain pgsched.timeout as interval
  constraint timeout_must_be_at_least_1_millisecond
  check (value >= interval '1 millisecond' and pgsched.is_forward(value))
  constraint timeout_must_be_at_most_1000_years check (value <= interval '1000 years');
create domain pgsched.idempotency_key as text
  constraint idempotency_key_must_have_1_to_500_characters check (length(value) between 1 and 500);
create domain pgsched.depends_on as bigint[]
  constraint depends_on_must_not_contain_null check (array_position(value, null) is null)
  constraint depends_on_must_be_at_most_100000 check (cardinality(value) <= 100000);
create domain pgsched.dependency_mode as text
  constraint dependency_mode_must_be_all_or_any check (value in ('all', 'any'));

create table pgsched.tasks (
  id bigint generated by default as identity primary key,
  task_type pgsched.task_type not null,
  task_name text,
  queue pgsched.queue_name not null default 'default',
  priority pgsched.priority not null default 5,
  payload pgsched.payload not null default '{}',
  metadata pgsched.metadata not null default '{}',
  tags pgsched.tags not null default '{}',
  tenant_id text,
  user_id text,
  created_by text,
  schedule_type pgsched.schedule_type not null,
  scheduled_for pgsched.scheduled_for,
  cron_expression text,
  timezone text not null default 'UTC',
  start_date pgsched.start_date,
  end_date pgsched.end_date,
  repeat_interval pgsched.repeat_interval,
  repeat_count pgsched.repeat_count,
  on_missed pgsched.on_missed not null default 'once',
  catchup_window pgsched.catchup_window,
  overlap pgsched.overlap not null default 'skip',
  jitter pgsched.jitter,
  enabled boolean not null default true,
  max_attempts pgsched.max_attempts not null default 3,
  backoff pgsched.backoff not null default 'exponential',
  backoff_delay pgsched.backoff_delay not null default interval '5 seconds',
  backoff_max pgsched.backoff_max not null default interval '1 hour',
  timeout pgsched.timeout,
  idempotency_key pgsched.idempotency_key,
  depends_on pgsched.depends_on not null default '{}',
  dependency_mode pgsched.dependency_mode not null default 'all',
  parent_id bigint,
  declared jsonb,
  planned_from timestamptz not null default now(),
  revision integer not null default 0,
  created_at timestamptz not null default now(),
  -- What a run changes stands together: the log of an update spans from the first to the last byte that changed.
  execution_count pgsched.execution_count not null default 0,
  completed_at timestamptz,
  died_at timestamptz,
  last_run_at timestamptz,
  updated_at timestamptz not null default now(),
  next_run_at pgsched.next_run_at,
  status pgsched.task_status not null default 'pending',
  started_at timestamptz,
  attempts pgsched.attempts not null default 0,
  locked_by uuid,
  locked_until timestamptz,
  fencing_token bigint not null default 0,
  progress jsonb,
  result jsonb,
  last_error text,

  constraint due_if_and_only_if_pending_or_running
    check ((next_run_at is not null) = (status in ('pending', 'running'))),
  constraint leased_if_and_only_if_running
    check ((locked_by is not null and locked_until is not null) = (status = 'running')),
  constraint died_at_if_and_only_if_dead
    check ((died_at is not null) = (status = 'dead')),
  constraint cron_expression_if_and_only_if_recurring
    check ((cron_expression is not null) = (schedule_type = 'recurring')),
  constraint repeat_interval_if_and_only_if_repeating
    check ((repeat_interval is not null) = (schedule_type = 'repeating')),
  constraint repeat_count_needs_a_repeat_interval
    check (repeat_count is null or repeat_interval is not null),
  constraint end_date_must_not_be_before_start_date
    check (end_date >= start_date)
) with (fillfactor = 50);

-- The due clock: everything that may ever be claimed and nothing else. No index mentions a column that the claim
-- sets (status, locked_by, locked_until, attempts, fencing_token, started_at), so a claim is a HOT update.
create index tasks_due on pgsched.tasks (queue, priority desc, next_run_at, id)
  where next_run_at is not null and enabled;
create unique index idempotency_key_must_be_unique on pgsched.tasks (idempotency_key)
  where idempotency_key is not null;
create index tasks_dead on pgsched.tasks (died_at) where died_at is not null;
create index tasks_children on pgsched.tasks (parent_id) where parent_id is not null;

create table pgsched.executions (
  task_id bigint not null,
  task_type text not null,
  queue text not null,
  attempt integer not null,
  fencing_token bigint not null,
  scheduled_for timestamptz,
  worker_id uuid,
  status text not null,
  started_at timestamptz not null,
  finished_at timestamptz not null,
  duration_ms double precision,
  result jsonb,
  error text,
  constraint status_must_be_a_status_of_an_execution
    check (status in ('completed', 'failed', 'timed_out', 'cancelled', 'lost'))
) partition by range (started_at);
create index executions_task on pgsched.executions (task_id, fencing_token);
create table pgsched.executions_default partition of pgsched.executions default;

create table pgsched.execution_logs (
  task_id bigint not null,
  fencing_token bigint not null,
  attempt integer not null,
  logged_at timestamptz not null,
  level text not null,
  message text not null,
  fields jsonb
) partition by range (logged_at);
create index execution_logs_task on pgsched.execution_logs (task_id, fencing_token);
create table pgsched.execution_logs_default partition of pgsched.execution_logs default;

create table pgsched.missed_ticks (
  task_id bigint not null,
  task_type text not null,
  queue text not null,
  reason text not null
    constraint reason_must_be_once_skip_all_overlap_or_edit
      check (reason in ('once', 'skip', 'all', 'overlap', 'edit')),
  ticks bigint not null,
  first_tick timestamptz not null,
  next_tick timestamptz,
  noted_at timestamptz not null default now()
) partition by range (noted_at);
create index missed_ticks_task on pgsched.missed_ticks (task_id, noted_at);
create table pgsched.missed_ticks_default partition of pgsched.missed_ticks default;

-- Unlogged: what a crash empties, the next heartbeat writes again.
create unlogged table pgsched.workers (
  id uuid primary key,
  hostname text not null,
  pid integer not null,
  queues text[] not null,
  task_types text[] not null,
  declared_keys text[] not null default '{}',
  concurrency integer not null,
  running integer not null default 0,
  started_at timestamptz not null default now(),
  heartbeat_at timestamptz not null default now(),
  lease interval not null,
  sleeping_until timestamptz
) with (fillfactor = 50);

create table pgsched.queues (
  name pgsched.queue_name primary key,
  paused boolean not null default false,
  ordering text not null default 'fifo'
    constraint ordering_must_be_fifo_or_lifo check (ordering in ('fifo', 'lifo')),
  limits jsonb not null default '{}',
  retention interval
    constraint retention_must_not_be_negative check (retention >= interval '0'),
  updated_at timestamptz not null default now()
);

-- The IANA names this server knows: looking a zone up in pg_timezone_names reads hundreds of files each time.
create table pgsched.timezones (name text primary key);
insert into pgsched.timezones
  select name from pg_timezone_names where name !~ '^(posix|right)/' and name not in ('localtime', 'posixrules', 'Factory');

comment on table pgsched.tasks is 'Every one-time, recurring and repeating task. Only task_type is required.';
comment on column pgsched.tasks.id is 'Given by the database.';
comment on column pgsched.tasks.tenant_id is 'Whose it is, as an organisation; for people and filters.';
comment on column pgsched.tasks.user_id is 'Whose it is, as a person; for people and filters.';
comment on column pgsched.tasks.created_by is 'Who or what made the row; for people and filters.';
comment on column pgsched.tasks.status is 'pending, running, blocked, completed, dead or cancelled.';
comment on column pgsched.tasks.max_attempts is 'So many attempts of a tick before it is dead.';
comment on column pgsched.tasks.backoff is 'How the delay of retries grows: exponential, linear or fixed.';
comment on column pgsched.tasks.backoff_delay is 'The delay of the first retry.';
comment on column pgsched.tasks.backoff_max is 'No retry is delayed longer.';
comment on column pgsched.tasks.timeout is 'The longest that one attempt may take. Null: as long as it likes.';
comment on column pgsched.tasks.depends_on is 'The ids of the tasks it waits for.';
comment on column pgsched.tasks.dependency_mode is 'Whether it waits for all of them or any.';
comment on column pgsched.tasks.parent_id is 'The task whose tick or copy this is.';
comment on column pgsched.tasks.progress is 'What the handler last reported of itself.';
comment on column pgsched.tasks.result is 'What the handler last returned.';
comment on column pgsched.tasks.last_error is 'Why the last attempt failed. Null after one that went well.';
comment on column pgsched.tasks.created_at is 'When the row was inserted.';
comment on column pgsched.tasks.updated_at is 'When it was last edited, finished or cancelled.';
comment on column pgsched.tasks.task_type is 'The handler that runs it.';
comment on column pgsched.tasks.task_name is 'A label for people.';
comment on column pgsched.tasks.queue is 'Workers serve queues by name.';
comment on column pgsched.tasks.priority is '1 to 10; 10 runs first.';
comment on column pgsched.tasks.payload is 'A JSON object; its keys become the handler''s keyword arguments.';
comment on column pgsched.tasks.metadata is 'A JSON object for people and programs; handlers do not get it as arguments.';
comment on column pgsched.tasks.tags is 'Labels to filter by.';
comment on column pgsched.tasks.schedule_type is 'one_time, recurring or repeating; derived when left out.';
comment on column pgsched.tasks.scheduled_for is 'The nominal time of the current tick.';
comment on column pgsched.tasks.cron_expression is 'Recurring: five fields, or six with seconds first, or @daily and the like.';
comment on column pgsched.tasks.timezone is 'The IANA zone in which the schedule is read.';
comment on column pgsched.tasks.start_date is 'No tick before.';
comment on column pgsched.tasks.end_date is 'No tick after.';
comment on column pgsched.tasks.repeat_interval is 'Repeating: from tick to tick.';
comment on column pgsched.tasks.repeat_count is 'Repeating: so many ticks; null means for ever.';
comment on column pgsched.tasks.execution_count is 'Ticks finished.';
comment on column pgsched.tasks.on_missed is 'Ticks that passed while nothing ran: once, skip or all.';
comment on column pgsched.tasks.catchup_window is 'Missed ticks older than this are not run.';
comment on column pgsched.tasks.overlap is 'A tick that comes while the last still runs: skip or allow.';
comment on column pgsched.tasks.jitter is 'Spreads starts: each tick is due up to this much later.';
comment on column pgsched.tasks.enabled is 'False: paused.';
comment on column pgsched.tasks.next_run_at is 'The due clock: when the row may be claimed. Null: never.';
comment on column pgsched.tasks.last_run_at is 'When the last execution began.';
comment on column pgsched.tasks.started_at is 'When the current or last claim was made.';
comment on column pgsched.tasks.completed_at is 'When the task was completed or cancelled.';
comment on column pgsched.tasks.died_at is 'When it failed for good.';
comment on column pgsched.tasks.attempts is 'Attempts of this tick; counted at the claim.';
comment on column pgsched.tasks.locked_by is 'The worker that holds the lease.';
comment on column pgsched.tasks.locked_until is 'When the lease ends; past it any worker may claim the row again.';
comment on column pgsched.tasks.fencing_token is 'Grows by one at every claim and never goes back.';
comment on column pgsched.tasks.idempotency_key is 'Unique: a second insert with the same key is refused, pgsched.schedule returns the first.';
comment on column pgsched.tasks.declared is 'Of a schedule declared in code: what the code said when it was last taken over.';
comment on column pgsched.tasks.planned_from is 'When the schedule was made or last changed: its first tick is not before.';
comment on column pgsched.tasks.revision is 'Grows when the schedule is edited, so that a finish in flight does not overwrite the edit.';
comment on table pgsched.executions is 'One row per attempt.';
comment on table pgsched.execution_logs is 'Lines that handlers logged.';
comment on table pgsched.missed_ticks is 'Ticks that were not run, and why: one row for a row of ticks.';
comment on column pgsched.missed_ticks.task_id is 'The schedule.';
comment on column pgsched.missed_ticks.task_type is 'Its handler.';
comment on column pgsched.missed_ticks.queue is 'Its queue.';
comment on column pgsched.missed_ticks.first_tick is 'The first of them.';
comment on column pgsched.missed_ticks.noted_at is 'When it was decided.';
comment on column pgsched.missed_ticks.reason is 'The on_missed policy that decided it; overlap: the last run was still running; edit: the schedule was edited while a retry waited.';
comment on column pgsched.missed_ticks.ticks is 'How many; for cron 999 or 1000 means at least so many.';
comment on column pgsched.missed_ticks.next_tick is 'The tick that was run or booked instead. Null: the schedule is over, or was edited.';
comment on table pgsched.workers is 'One row per worker process that is alive.';
comment on table pgsched.queues is 'Settings of queues; a queue without a row has the defaults.';
