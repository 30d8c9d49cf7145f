-- The schema of pgsched, for reading: the result of the migrations on an empty database. `make schema` writes it,
-- and tests keep it equal to the migrations. No program runs it: `pgsched migrate` runs migrations/.
--
-- 1. Checks of types   2. Types   3. Tables and their indexes   4. Views   5. Functions   6. Triggers   7. Rights
-- 8. Comments
--
-- Left out: rows, the daily partitions of the history, and the roles with their rights (queries/grant_rights.sql).

set check_function_bodies = off;

create schema pgsched;

-- =====================================================================================================================
-- 1. Checks of types
-- =====================================================================================================================

-- For the schema: whether no part of an interval is negative.
create function pgsched.is_forward(value interval) returns boolean
language sql immutable
return (least(date_part('year', value), date_part('month', value), date_part('day', value), date_part('hour', value),
  date_part('minute', value), date_part('microsecond', value)) >= (0)::double precision);

-- For the schema: a day of the calendar, or null.
create function pgsched.read_day(word text) returns date
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A day as 2030-01-07; null when it is none.
begin
  if word ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' and left(word, 4) > '0000' and substr(word, 6, 2) between '01' and '12'
    and right(word, 2)::integer
      between 1 and pgsched.month_length(left(word, 4)::integer, substr(word, 6, 2)::integer) then
    return make_date(left(word, 4)::integer, substr(word, 6, 2)::integer, right(word, 2)::integer);
  end if;
  return null;
end $$;

-- For the schema: whether these are days, of every year or of one.
create function pgsched.are_days(days text[]) returns boolean
language sql immutable strict
return coalesce(((cardinality(days) <= 1000)
  and (not (exists (select from unnest(are_days.days) day(day) where (pgsched.read_day(case when (length(day.day) = 5) then ('2000-' || day.day) else day.day end) is null))))),
    true);

-- =====================================================================================================================
-- 2. Types
-- =====================================================================================================================

create domain pgsched.task_type as text
  -- 1 to 200 characters.
  constraint task_type_must_have_1_to_200_characters check (length(value) >= 1 and length(value) <= 200)
  -- No line ends, tabs or other control characters: names are shown in terminals and logs.
  constraint task_type_must_not_contain_control_characters check (value !~ '[[:cntrl:]]');

create domain pgsched.queue_name as text
  -- 1 to 100 characters.
  constraint queue_must_have_1_to_100_characters check (length(value) >= 1 and length(value) <= 100)
  -- No line ends, tabs or other control characters: names are shown in terminals and logs.
  constraint queue_must_not_contain_control_characters check (value !~ '[[:cntrl:]]');

create domain pgsched.priority as smallint
  -- 1 to 10; 10 runs first.
  constraint priority_must_be_between_1_and_10 check (value >= 1 and value <= 10);

create domain pgsched.payload as jsonb
  -- An object: no list, no single value.
  constraint payload_must_be_a_json_object check (jsonb_typeof(value) = 'object')
  -- At most 100 lists and objects inside one another: readers need stack for each.
  constraint payload_must_not_be_nested_deeper_than_100_levels
    check (not jsonb_path_exists(value, '$.**{101}'::jsonpath))
  -- At most 1,048,576 bytes as JSON text.
  constraint payload_must_not_exceed_1_mib
    check (pg_column_size(value) < 65536 or octet_length(value::text) <= 1048576)
  -- No number beyond 1e308 or -1e308: Python and others would read infinity.
  constraint payload_must_not_hold_numbers_beyond_1e308
    check (not jsonb_path_exists(value, '$.**?(@ > 1e308 || @ < -1e308)'::jsonpath));

create domain pgsched.metadata as jsonb
  -- An object: no list, no single value.
  constraint metadata_must_be_a_json_object check (jsonb_typeof(value) = 'object')
  -- At most 100 lists and objects inside one another: readers need stack for each.
  constraint metadata_must_not_be_nested_deeper_than_100_levels
    check (not jsonb_path_exists(value, '$.**{101}'::jsonpath))
  -- At most 1,048,576 bytes as JSON text.
  constraint metadata_must_not_exceed_1_mib
    check (pg_column_size(value) < 65536 or octet_length(value::text) <= 1048576)
  -- No number beyond 1e308 or -1e308: Python and others would read infinity.
  constraint metadata_must_not_hold_numbers_beyond_1e308
    check (not jsonb_path_exists(value, '$.**?(@ > 1e308 || @ < -1e308)'::jsonpath));

create domain pgsched.tags as text[]
  -- 100 tags at most.
  constraint tags_must_be_at_most_100 check (cardinality(value) <= 100)
  -- Every tag is text, none is null.
  constraint tags_must_not_contain_null check (array_position(value, null::text) is null);

create domain pgsched.schedule_type as text
  -- One of the three kinds of schedule.
  constraint schedule_type_must_be_one_time_recurring_or_repeating
    check (value in ('one_time', 'recurring', 'repeating'));

create domain pgsched.scheduled_for as timestamptz
  -- A time that every language can hold; no infinity.
  constraint scheduled_for_must_be_between_the_years_1_and_9999
    check (value >= '0001-01-02 00:00:00+00'::timestamptz and value < '9999-12-31 00:00:00+00'::timestamptz);

create domain pgsched.start_date as timestamptz
  -- A time that every language can hold; no infinity.
  constraint start_date_must_be_between_the_years_1_and_9999
    check (value >= '0001-01-02 00:00:00+00'::timestamptz and value < '9999-12-31 00:00:00+00'::timestamptz);

create domain pgsched.end_date as timestamptz
  -- A time that every language can hold; no infinity.
  constraint end_date_must_be_between_the_years_1_and_9999
    check (value >= '0001-01-02 00:00:00+00'::timestamptz and value < '9999-12-31 00:00:00+00'::timestamptz);

create domain pgsched.repeat_interval as interval
  -- A millisecond or longer, and no part of it is negative.
  constraint repeat_interval_must_be_at_least_1_millisecond
    check (value >= '00:00:00.001'::interval and pgsched.is_forward(value))
  -- At most 1000 years: beyond that sums leave the calendar.
  constraint repeat_interval_must_be_at_most_1000_years check (value <= '1000 years'::interval);

create domain pgsched.repeat_count as integer
  -- 1 or more; null means for ever.
  constraint repeat_count_must_be_at_least_1 check (value >= 1);

create domain pgsched.on_missed as text
  -- One of the three policies.
  constraint on_missed_must_be_once_skip_or_all check (value in ('once', 'skip', 'all'));

create domain pgsched.catchup_window as interval
  -- At most 1000 years: beyond that sums leave the calendar.
  constraint catchup_window_must_be_at_most_1000_years check (value <= '1000 years'::interval)
  -- No part of it is negative.
  constraint catchup_window_must_not_be_negative check (pgsched.is_forward(value));

create domain pgsched.overlap as text
  -- One of the two policies.
  constraint overlap_must_be_skip_or_allow check (value in ('skip', 'allow'));

create domain pgsched.jitter as interval
  -- From nothing to a day.
  constraint jitter_must_be_between_0_and_1_day check (value >= '00:00:00'::interval and value <= '1 day'::interval);

create domain pgsched.max_attempts as integer
  -- 1 to 1000.
  constraint max_attempts_must_be_between_1_and_1000 check (value >= 1 and value <= 1000);

create domain pgsched.backoff as text
  -- One of the three policies.
  constraint backoff_must_be_exponential_linear_or_fixed check (value in ('exponential', 'linear', 'fixed'));

create domain pgsched.backoff_delay as interval
  -- At most 1000 years: beyond that sums leave the calendar.
  constraint backoff_delay_must_be_at_most_1000_years check (value <= '1000 years'::interval)
  -- No part of it is negative.
  constraint backoff_delay_must_not_be_negative check (pgsched.is_forward(value));

create domain pgsched.backoff_max as interval
  -- At most 1000 years: beyond that sums leave the calendar.
  constraint backoff_max_must_be_at_most_1000_years check (value <= '1000 years'::interval)
  -- No part of it is negative.
  constraint backoff_max_must_not_be_negative check (pgsched.is_forward(value));

create domain pgsched.timeout as interval
  -- A millisecond or longer, and no part of it is negative.
  constraint timeout_must_be_at_least_1_millisecond
    check (value >= '00:00:00.001'::interval and pgsched.is_forward(value))
  -- At most 1000 years: beyond that sums leave the calendar.
  constraint timeout_must_be_at_most_1000_years check (value <= '1000 years'::interval);

create domain pgsched.idempotency_key as text
  -- 1 to 500 characters.
  constraint idempotency_key_must_have_1_to_500_characters check (length(value) >= 1 and length(value) <= 500);

create domain pgsched.depends_on as bigint[]
  -- 100,000 tasks at most.
  constraint depends_on_must_be_at_most_100000 check (cardinality(value) <= 100000)
  -- Ids of tasks, none is null.
  constraint depends_on_must_not_contain_null check (array_position(value, null::bigint) is null);

create domain pgsched.dependency_mode as text
  -- One of the three modes.
  constraint dependency_mode_must_be_all_any_or_each check (value in ('all', 'any', 'each'));

create domain pgsched.execution_count as integer
  -- A count.
  constraint execution_count_must_not_be_negative check (value >= 0);

create domain pgsched.next_run_at as timestamptz
  -- A time that every language can hold; no infinity.
  constraint next_run_at_must_be_between_the_years_1_and_9999
    check (value >= '0001-01-02 00:00:00+00'::timestamptz and value < '9999-12-31 00:00:00+00'::timestamptz);

create domain pgsched.task_status as text
  -- pending, running, blocked, completed, dead or cancelled.
  constraint status_must_be_a_status_of_a_task
    check (value in ('pending', 'running', 'blocked', 'completed', 'dead', 'cancelled'));

create domain pgsched.attempts as integer
  -- A count.
  constraint attempts_must_not_be_negative check (value >= 0);

create domain pgsched.on_dependency_dead as text
  -- One of the three policies.
  constraint on_dependency_dead_must_be_cancel_run_or_wait check (value in ('cancel', 'run', 'wait'));

create domain pgsched.concurrency_key as text
  -- 1 to 200 characters.
  constraint concurrency_key_must_have_1_to_200_characters check (length(value) >= 1 and length(value) <= 200);

create domain pgsched.backoff_factor as double precision
  -- Delays must not shrink from retry to retry.
  constraint backoff_factor_must_be_between_1_and_1000
    check (value >= 1::double precision and value <= 1000::double precision);

create domain pgsched.backoff_jitter as double precision
  -- A share of the delay.
  constraint backoff_jitter_must_be_between_0_and_1
    check (value >= 0::double precision and value <= 1::double precision);

-- A cron expression that was read, as sets of bits.
create type pgsched.cron_rule as (
  problem text,
  second bigint,
  minute bigint,
  hour bigint,
  day bigint,
  month bigint,
  weekday bigint,
  from_end bigint,
  near bigint,
  near_end bigint,
  nth bigint,
  "both" boolean,
  fixed boolean,
  runs_skipped boolean,
  repeated text,
  weeks integer,
  week_of date,
  "except" text[],
  moves boolean
);

-- =====================================================================================================================
-- 3. Tables and their indexes
-- =====================================================================================================================

-- Tasks ---------------------------------------------------------------------------------------------------------------
-- The one table that programs insert into, and the tables about its rows.

create sequence pgsched.fencing_tokens;

-- Every one-time, recurring and repeating task. Only task_type is required.
create table pgsched.tasks (
  id bigint generated by default as identity,                   -- Given by the database.
  task_type pgsched.task_type not null,                         -- The handler that runs it.
  task_name text,                                               -- A label for people.
  queue pgsched.queue_name not null,                            -- Workers serve queues by name.
  priority pgsched.priority not null,                           -- 1 to 10; 10 runs first.
  payload pgsched.payload not null default '{}'::jsonb,         -- A JSON object; its keys become the handler's keyword
                                                                -- arguments.
  metadata pgsched.metadata not null,                           -- A JSON object for people and programs; handlers do
                                                                -- not get it as arguments.
  tags pgsched.tags not null,                                   -- Labels to filter by.
  tenant_id text,                                               -- Whose it is, as an organisation; for people and
                                                                -- filters.
  user_id text,                                                 -- Whose it is, as a person; for people and filters.
  created_by text,                                              -- Who or what made the row; for people and filters.
  schedule_type pgsched.schedule_type not null,                 -- one_time, recurring or repeating; derived when left
                                                                -- out.
  scheduled_for pgsched.scheduled_for,                          -- The nominal time of the current tick.
  cron_expression text,                                         -- Recurring: five fields, or six with seconds first, or
                                                                -- @daily and the like; options as days=both may follow.
  timezone text not null,                                       -- The IANA zone in which the schedule is read.
  start_date pgsched.start_date,                                -- No tick before.
  end_date pgsched.end_date,                                    -- No tick after.
  repeat_interval pgsched.repeat_interval,                      -- Repeating: from tick to tick.
  repeat_count pgsched.repeat_count,                            -- Repeating: so many ticks; null means for ever.
  on_missed pgsched.on_missed not null,                         -- Ticks that passed while nothing ran: once, skip or
                                                                -- all.
  catchup_window pgsched.catchup_window,                        -- Missed ticks older than this are not run.
  overlap pgsched.overlap not null,                             -- A tick that comes while the last still runs: skip or
                                                                -- allow.
  jitter pgsched.jitter,                                        -- Spreads starts: each tick is due up to this much
                                                                -- later.
  enabled boolean not null default true,                        -- False: paused.
  max_attempts pgsched.max_attempts not null,                   -- So many attempts of a tick before it is dead.
  backoff pgsched.backoff not null,                             -- How the delay of retries grows: exponential, linear
                                                                -- or fixed.
  backoff_delay pgsched.backoff_delay not null,                 -- The delay of the first retry.
  backoff_max pgsched.backoff_max not null,                     -- No retry is delayed longer; backoff_delay counts
                                                                -- where that is longer.
  timeout pgsched.timeout,                                      -- The longest that one attempt may take. Null: as long
                                                                -- as it likes.
  idempotency_key pgsched.idempotency_key,                      -- Unique: a second insert with the same key is refused,
                                                                -- pgsched.schedule returns the first.
  depends_on pgsched.depends_on not null default '{}'::bigint[],
                                                                -- The ids of the tasks it waits for.
  dependency_mode pgsched.dependency_mode not null,             -- Whether it waits for all of them or any, or (each)
                                                                -- follows one schedule: it stays, and a child runs
                                                                -- after each tick.
  parent_id bigint,                                             -- The task whose tick or copy this is.
  declared jsonb,                                               -- Of a schedule declared in code: what the code said
                                                                -- when it was last taken over.
  planned_from timestamptz not null default now(),              -- When the schedule was made or last changed: its first
                                                                -- tick is not before.
  revision integer not null default 0,                          -- Grows when the schedule is edited, so that a finish
                                                                -- in flight does not overwrite the edit.
  created_at timestamptz not null default now(),                -- When the row was inserted.
  execution_count pgsched.execution_count not null default 0,   -- Ticks finished.
  completed_at timestamptz,                                     -- When the task was completed or cancelled.
  died_at timestamptz,                                          -- When it failed for good.
  last_run_at timestamptz,                                      -- When the last execution began.
  updated_at timestamptz not null default now(),                -- When it was last edited, finished or cancelled.
  next_run_at pgsched.next_run_at,                              -- The due clock: when the row may be claimed. Null:
                                                                -- never.
  status pgsched.task_status not null default 'pending',        -- pending, running, blocked, completed, dead or
                                                                -- cancelled.
  started_at timestamptz,                                       -- When the current or last claim was made.
  attempts pgsched.attempts not null default 0,                 -- Attempts of this tick; counted at the claim.
  locked_by uuid,                                               -- The worker that holds the lease.
  locked_until timestamptz,                                     -- When the lease ends; past it any worker may claim the
                                                                -- row again.
  fencing_token bigint not null default 0,                      -- Grows with every claim and never goes back: drawn
                                                                -- from pgsched.fencing_tokens.
  progress jsonb,                                               -- What the handler last reported of itself.
  result jsonb,                                                 -- What the handler last returned.
  last_error text,                                              -- Why the last attempt failed. Null after one that went
                                                                -- well.
  on_dependency_dead pgsched.on_dependency_dead not null,       -- What becomes of it when one of them is dead or
                                                                -- cancelled: cancel, run (as if that one were
                                                                -- completed) or wait (for its retry).
  concurrency_key pgsched.concurrency_key,                      -- Whose limits of the queue count for it: a tenant, an
                                                                -- account.
  waiting_for integer not null default 0,                       -- How many tasks it still waits for.
  observed boolean not null default false,                      -- Others wait for it: its end is told them in the same
                                                                -- transaction.
  fired bigint[],                                               -- Of a group: the ids of the children of the tick under
                                                                -- way.
  unbegun_token bigint,                                         -- The fencing_token of a claim that holds the task in
                                                                -- advance: as long as it is the task's, this attempt
                                                                -- has not begun.
  inserted_by text default session_user,                        -- The database role that was logged in when the row was
                                                                -- inserted. Producers see their own rows in
                                                                -- visible_tasks.
  backoff_factor pgsched.backoff_factor,                        -- By what an exponential delay grows from retry to
                                                                -- retry. Null: 2.
  backoff_jitter pgsched.backoff_jitter,                        -- How far retries are spread around their delay, as a
                                                                -- share of it; 0: not at all. Null: 0.2.
  alert_if_no_success_for interval,                             -- The task is silent when no attempt of it was
                                                                -- completed for so long; counted from the first tick
                                                                -- while there was none.
  alert_if_running_for interval,                                -- An attempt that has run for so long is told of.
  judged_from timestamptz,                                      -- No success is asked for before: the last one that
                                                                -- workers have noted, or when the task was enabled. Set
                                                                -- by pgsched.
  expires_at timestamptz,                                       -- One-time tasks: one that has not started by then is
                                                                -- cancelled instead. Null: it does not expire.
  early_ticks timestamptz[],                                    -- Ticks that ran while the database's clock was ahead,
                                                                -- and are not run again: of a schedule that was
                                                                -- replanned since. Null: none.
  constraint tasks_pkey primary key (id),
  -- Finished tasks are listed, counted and deleted by the time when they ended.
  constraint completed_at_if_and_only_if_completed_or_cancelled
    check ((completed_at is not null) = (status::text in ('completed', 'cancelled'))),
  -- A cron expression and the kind recurring come together.
  constraint cron_expression_if_and_only_if_recurring
    check ((cron_expression is not null) = (schedule_type::text = 'recurring')),
  -- The dead letters are the rows with a died_at.
  constraint died_at_if_and_only_if_dead check ((died_at is not null) = (status::text = 'dead')),
  -- next_run_at is set while a row waits or runs, and null otherwise.
  constraint due_if_and_only_if_pending_or_running
    check ((next_run_at is not null) = (status::text in ('pending', 'running'))),
  -- They may be equal.
  constraint end_date_must_not_be_before_start_date check (end_date::timestamptz >= start_date::timestamptz),
  -- locked_by and locked_until are set while a row runs, and not otherwise.
  constraint leased_if_and_only_if_running
    check ((locked_by is not null and locked_until is not null) = (status::text = 'running')),
  -- A count alone makes no schedule.
  constraint repeat_count_needs_a_repeat_interval check (repeat_count is null or repeat_interval is not null),
  -- A repeat interval and the kind repeating come together; so no row has an interval and a cron expression.
  constraint repeat_interval_if_and_only_if_repeating
    check ((repeat_interval is not null) = (schedule_type::text = 'repeating'))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000);
alter sequence pgsched.fencing_tokens owned by pgsched.tasks.fencing_token;

-- No two tasks have the same key; pgsched.schedule returns the first one instead.
create unique index idempotency_key_must_be_unique on pgsched.tasks (idempotency_key) where idempotency_key is not null;

-- The tasks of an organisation, in the order of their ids: for lists.
create index tasks_by_tenant on pgsched.tasks (tenant_id, id) where tenant_id is not null;

-- The tasks of a user, in the order of their ids: for lists.
create index tasks_by_user on pgsched.tasks (user_id, id) where user_id is not null;

-- The children of a task.
create index tasks_children on pgsched.tasks (parent_id) where parent_id is not null;

-- The dead letters, by the time of their death.
create index tasks_dead on pgsched.tasks (died_at) where died_at is not null;

-- The dead tasks of a queue, in the order of their deaths: for retention.
create index tasks_dead_by_queue on pgsched.tasks (queue, died_at, id) where died_at is not null;

-- Tasks that depend on others and have not been completed or cancelled: retention keeps what they may still ask for.
create index tasks_dependents on pgsched.tasks (id)
  where cardinality(depends_on::bigint[]) > 0 and completed_at is null;

-- The due clock: everything that may ever be claimed, in the order of claims, and nothing else.
create index tasks_due on pgsched.tasks (queue, priority desc, next_run_at, id)
  where next_run_at is not null and enabled;

-- Tasks that may expire and are not over.
create index tasks_expiring on pgsched.tasks (expires_at)
  where expires_at is not null and completed_at is null and died_at is null;

-- The tasks of a queue that were completed or cancelled, in the order of their ends: for retention.
create index tasks_finished on pgsched.tasks (queue, completed_at, id) where completed_at is not null;

-- The due clock of each concurrency_key, for queues with limits per key.
create index tasks_keyed on pgsched.tasks (queue, concurrency_key, priority desc, next_run_at, id)
  where next_run_at is not null and enabled and concurrency_key is not null;

-- The tasks that are paused: for lists and counts of them.
create index tasks_paused on pgsched.tasks (queue, id) where not enabled;

-- The schedules, for lists of them.
create index tasks_schedules on pgsched.tasks (id) where schedule_type::text <> 'one_time';

-- Tasks that say when silence or a long run is to be told of.
create index tasks_watched on pgsched.tasks (id)
  where (alert_if_no_success_for is not null or alert_if_running_for is not null) and completed_at is null;

-- Groups and tasks that wait for others, for lists of them.
create index tasks_workflows on pgsched.tasks (id)
  where task_type::text = 'pgsched.group' or cardinality(depends_on::bigint[]) > 0;

-- Who still waits for whom; a row goes when it is settled.
create table pgsched.dependencies (
  upstream_id bigint not null,    -- The task that is waited for.
  task_id bigint not null,        -- The task that waits.
  constraint dependencies_pkey primary key (upstream_id, task_id)
);

-- What a task waits for.
create index dependencies_task on pgsched.dependencies (task_id);

-- Tasks that were deleted, if their queue asks for it: each as it was. Yours to empty.
create table pgsched.archived_tasks (
  archived_at timestamptz not null default now(),            -- When it was deleted.
  id bigint not null,                                        -- Given by the database.
  task_type pgsched.task_type not null,                      -- The handler that runs it.
  task_name text,                                            -- A label for people.
  queue pgsched.queue_name not null,                         -- Workers serve queues by name.
  priority pgsched.priority not null,                        -- 1 to 10; 10 runs first.
  payload pgsched.payload not null,                          -- A JSON object; its keys become the handler's keyword
                                                             -- arguments.
  metadata pgsched.metadata not null,                        -- A JSON object for people and programs; handlers do not
                                                             -- get it as arguments.
  tags pgsched.tags not null,                                -- Labels to filter by.
  tenant_id text,                                            -- Whose it is, as an organisation; for people and filters.
  user_id text,                                              -- Whose it is, as a person; for people and filters.
  created_by text,                                           -- Who or what made the row; for people and filters.
  schedule_type pgsched.schedule_type not null,              -- one_time, recurring or repeating; derived when left out.
  scheduled_for pgsched.scheduled_for,                       -- The nominal time of the current tick.
  cron_expression text,                                      -- Recurring: five fields, or six with seconds first, or
                                                             -- @daily and the like; options as days=both may follow.
  timezone text not null,                                    -- The IANA zone in which the schedule is read.
  start_date pgsched.start_date,                             -- No tick before.
  end_date pgsched.end_date,                                 -- No tick after.
  repeat_interval pgsched.repeat_interval,                   -- Repeating: from tick to tick.
  repeat_count pgsched.repeat_count,                         -- Repeating: so many ticks; null means for ever.
  on_missed pgsched.on_missed not null,                      -- Ticks that passed while nothing ran: once, skip or all.
  catchup_window pgsched.catchup_window,                     -- Missed ticks older than this are not run.
  overlap pgsched.overlap not null,                          -- A tick that comes while the last still runs: skip or
                                                             -- allow.
  jitter pgsched.jitter,                                     -- Spreads starts: each tick is due up to this much later.
  enabled boolean not null,                                  -- False: paused.
  max_attempts pgsched.max_attempts not null,                -- So many attempts of a tick before it is dead.
  backoff pgsched.backoff not null,                          -- How the delay of retries grows: exponential, linear or
                                                             -- fixed.
  backoff_delay pgsched.backoff_delay not null,              -- The delay of the first retry.
  backoff_max pgsched.backoff_max not null,                  -- No retry is delayed longer.
  timeout pgsched.timeout,                                   -- The longest that one attempt may take. Null: as long as
                                                             -- it likes.
  idempotency_key pgsched.idempotency_key,                   -- Unique: a second insert with the same key is refused,
                                                             -- pgsched.schedule returns the first.
  depends_on pgsched.depends_on not null,                    -- The ids of the tasks it waits for.
  dependency_mode pgsched.dependency_mode not null,          -- Whether it waits for all of them or any.
  parent_id bigint,                                          -- The task whose tick or copy this is.
  declared jsonb,                                            -- Of a schedule declared in code: what the code said when
                                                             -- it was last taken over.
  planned_from timestamptz not null,                         -- When the schedule was made or last changed: its first
                                                             -- tick is not before.
  revision integer not null,                                 -- Grows when the schedule is edited, so that a finish in
                                                             -- flight does not overwrite the edit.
  created_at timestamptz not null,                           -- When the row was inserted.
  execution_count pgsched.execution_count not null,          -- Ticks finished.
  completed_at timestamptz,                                  -- When the task was completed or cancelled.
  died_at timestamptz,                                       -- When it failed for good.
  last_run_at timestamptz,                                   -- When the last execution began.
  updated_at timestamptz not null,                           -- When it was last edited, finished or cancelled.
  next_run_at pgsched.next_run_at,                           -- The due clock: when the row may be claimed. Null: never.
  status pgsched.task_status not null,                       -- pending, running, blocked, completed, dead or cancelled.
  started_at timestamptz,                                    -- When the current or last claim was made.
  attempts pgsched.attempts not null,                        -- Attempts of this tick; counted at the claim.
  locked_by uuid,                                            -- The worker that holds the lease.
  locked_until timestamptz,                                  -- When the lease ends; past it any worker may claim the
                                                             -- row again.
  fencing_token bigint not null,                             -- Grows by one at every claim and never goes back.
  progress jsonb,                                            -- What the handler last reported of itself.
  result jsonb,                                              -- What the handler last returned.
  last_error text,                                           -- Why the last attempt failed. Null after one that went
                                                             -- well.
  on_dependency_dead pgsched.on_dependency_dead not null,    -- What becomes of it when one of them is dead or
                                                             -- cancelled: cancel, run (as if that one were completed)
                                                             -- or wait (for its retry).
  concurrency_key pgsched.concurrency_key,                   -- Whose limits of the queue count for it: a tenant, an
                                                             -- account.
  waiting_for integer not null,                              -- How many tasks it still waits for.
  observed boolean not null,                                 -- Others wait for it: its end is told them in the same
                                                             -- transaction.
  fired bigint[],                                            -- Of a group: the ids of the children of the tick under
                                                             -- way.
  unbegun_token bigint,                                      -- The fencing_token of a claim that holds the task in
                                                             -- advance: as long as it is the task's, this attempt has
                                                             -- not begun.
  inserted_by text,                                          -- The database role that was logged in when the row was
                                                             -- inserted.
  backoff_factor pgsched.backoff_factor,                     -- By what an exponential delay grows from retry to retry.
                                                             -- Null: 2.
  backoff_jitter pgsched.backoff_jitter,                     -- How far retries are spread around their delay, as a
                                                             -- share of it; 0: not at all. Null: 0.2.
  alert_if_no_success_for interval,                          -- The task is silent when no attempt of it was completed
                                                             -- for so long; counted from the first tick while there was
                                                             -- none.
  alert_if_running_for interval,                             -- An attempt that has run for so long is told of.
  judged_from timestamptz,                                   -- No success is asked for before: the last one that
                                                             -- workers have noted, or when the task was enabled. Set by
                                                             -- pgsched.
  expires_at timestamptz,                                    -- One-time tasks: one that has not started by then is
                                                             -- cancelled instead. Null: it does not expire.
  early_ticks timestamptz[]                                  -- Ticks that ran while the database's clock was ahead, and
                                                             -- are not run again: of a schedule that was replanned
                                                             -- since. Null: none.
);
alter table pgsched.archived_tasks replica identity full;

-- Finds an archived task by its id.
create index archived_tasks_id on pgsched.archived_tasks (id);

-- Archived tasks by the time of their deletion: a summary of block ranges.
create index archived_tasks_time on pgsched.archived_tasks using brin (archived_at);

-- History -------------------------------------------------------------------------------------------------------------
-- The result of each attempt. Partitioned by day, so that retention drops partitions instead of deleting rows.

-- One row per attempt; partitioned by day of started_at, in UTC.
create table pgsched.executions (
  task_id bigint not null,             -- The task; it may be deleted by now.
  task_type text not null,             -- Its handler.
  queue text not null,                 -- Its queue.
  attempt integer not null,            -- Which attempt at the tick it was, from 1. 0: one that is not counted, lost
                                       -- with the transaction that had locked the task.
  fencing_token bigint not null,       -- The token of the claim: with task_id it names the attempt.
  scheduled_for timestamptz,           -- The tick that it was for.
  worker_id uuid,                      -- The worker that made it; null when there was none.
  status text not null,                -- completed, failed, timed_out, cancelled or lost (its worker died or was cut
                                       -- off).
  started_at timestamptz not null,     -- When the handler began; of a lost or cancelled attempt, when it was claimed.
  finished_at timestamptz not null,    -- When it ended, or was found to be lost.
  duration_ms double precision,        -- How long it took, in milliseconds.
  result jsonb,                        -- What the handler returned.
  error text,                          -- Why it failed, with the traceback; cut in the middle at 16,384 characters.
  task jsonb,                          -- Of the attempt with which a task has left pgsched.tasks: what the task had
                                       -- beside defaults and this row; see departed_tasks. Null for all others.
  -- completed, failed, timed_out, cancelled or lost.
  constraint status_must_be_a_status_of_an_execution
    check (status in ('completed', 'failed', 'timed_out', 'cancelled', 'lost'))
) partition by range (started_at);
alter table pgsched.executions replica identity full;

-- The keys of tasks that have left pgsched.tasks.
create index executions_departed_key on pgsched.executions ((task ->> 'idempotency_key'))
  where (task ->> 'idempotency_key') is not null;

-- The attempts that did not go well, by time.
create index executions_not_completed on pgsched.executions (started_at) where status <> 'completed';

-- The attempts at one task.
create index executions_task on pgsched.executions (task_id, fencing_token);

-- The attempts by time: a summary of block ranges, not an entry for each.
create index executions_time on pgsched.executions using brin (started_at, finished_at)
  with (pages_per_range='32', autosummarize='on');

create table pgsched.executions_default partition of pgsched.executions default;
alter table pgsched.executions_default replica identity full;

-- Lines that handlers logged; partitioned by day of logged_at, in UTC.
create table pgsched.execution_logs (
  task_id bigint not null,           -- The task.
  fencing_token bigint not null,     -- The token of the claim: with task_id it names the attempt.
  attempt integer not null,          -- Which attempt at the tick it was, from 1.
  logged_at timestamptz not null,    -- When.
  level text not null,               -- debug, info, warning, error, critical, or any word that the handler gave.
  message text not null,             -- The line, cut at 8,192 characters.
  fields jsonb                       -- What was given with it, as a JSON object.
) partition by range (logged_at);
alter table pgsched.execution_logs replica identity full;

-- The lines of one task.
create index execution_logs_task on pgsched.execution_logs (task_id, fencing_token);

create table pgsched.execution_logs_default partition of pgsched.execution_logs default;
alter table pgsched.execution_logs_default replica identity full;

-- Ticks that were not run, and why: one row for ticks in a row; partitioned by day of noted_at, in UTC.
create table pgsched.missed_ticks (
  task_id bigint not null,                        -- The schedule.
  task_type text not null,                        -- Its handler.
  queue text not null,                            -- Its queue.
  reason text not null,                           -- The on_missed policy that decided it; overlap: the last run was
                                                  -- still running; edit: the schedule was edited; paused: it was
                                                  -- enabled without catching up; skipped: by skip_next.
  ticks bigint not null,                          -- How many; for cron 999 or 1000 means at least so many.
  first_tick timestamptz not null,                -- The first of them.
  next_tick timestamptz,                          -- The tick that was run or booked instead. Null: the schedule is
                                                  -- over, or was edited.
  noted_at timestamptz not null default now(),    -- When it was decided.
  -- Why the ticks were not run: a policy of on_missed, or what somebody did.
  constraint reason_must_be_once_skip_all_overlap_edit_paused_or_skipped
    check (reason in ('once', 'skip', 'all', 'overlap', 'edit', 'paused', 'skipped'))
) partition by range (noted_at);
alter table pgsched.missed_ticks replica identity full;

-- The missed ticks of one schedule.
create index missed_ticks_task on pgsched.missed_ticks (task_id, noted_at);

create table pgsched.missed_ticks_default partition of pgsched.missed_ticks default;
alter table pgsched.missed_ticks_default replica identity full;

-- Durable runs --------------------------------------------------------------------------------------------------------
-- What durable handlers record: their runs, the runs' steps, and the events sent to them.

-- The runs of durable handlers that have recorded something and are not over: one row per task, named by began_at.
create table pgsched.durable_runs (
  task_id bigint not null,          -- The task.
  tick_number integer not null,     -- Which tick of the task it is, from 1; always 1 for a one-time task.
  began_at timestamptz not null,    -- When the run began: its steps are filed under this time. A new tick and
                                    -- ctx.restart_with() begin another run.
  code_version text,                -- The version of the code that began it.
  awaits text[],                    -- While the task is blocked in a wait: what ends the wait, as event:NAME, child:ID
                                    -- and time.
  wakes_at timestamptz,             -- While the task is blocked in a wait: when the first timeout or sleep among its
                                    -- waits is over.
  unasked text[],                   -- Recorded steps that the code no longer asked for when it went on behind them; the
                                    -- doctor reports them.
  constraint durable_runs_pkey primary key (task_id)
) with (fillfactor = 70);

-- The waits that end at a time, in that order.
create index durable_runs_waking on pgsched.durable_runs (wakes_at) where wakes_at is not null;

-- What the runs of durable handlers have recorded: one row per step, sleep, wait and child. Partitioned by day of
-- began_at, in UTC.
create table pgsched.durable_steps (
  task_id bigint not null,                         -- The task; it may be deleted by now.
  began_at timestamptz not null,                   -- The run.
  tick_number integer not null,                    -- Which tick of the task the run is, from 1.
  name text not null,                              -- The name that the handler gives it; with key it is unique in a
                                                   -- run.
  key text not null default '',                    -- What tells steps of one name apart, as those of a loop; empty:
                                                   -- nothing.
  kind text not null,                              -- step (a function that was called), sleep, event (a wait for one),
                                                   -- child (another task), value (a time, a random number) or patch.
  status text not null,                            -- waiting, failing (it is tried again), completed, or failed for
                                                   -- good: all its attempts failed, or the wait timed out.
  attempts integer not null default 0,             -- Attempts of the step that have ended.
  result jsonb,                                    -- What the step returned, the payload of the event, the result of
                                                   -- the child.
  error text,                                      -- Why its last attempt failed.
  child_id bigint,                                 -- The child task.
  cancels_child boolean not null default false,    -- Whether the child is cancelled with this task.
  event_id bigint,                                 -- The event that ended the wait.
  wakes_at timestamptz,                            -- When the sleep ends, the wait times out, or the step is tried
                                                   -- again.
  started_at timestamptz not null,                 -- When it was begun first.
  finished_at timestamptz,                         -- When it was completed, or failed for good.
  fencing_token bigint not null,                   -- The claim that recorded it last.
  -- What a step can be.
  constraint kind_must_be_step_sleep_event_child_value_or_patch
    check (kind in ('step', 'sleep', 'event', 'child', 'value', 'patch')),
  -- How a step can stand.
  constraint status_must_be_waiting_failing_completed_or_failed
    check (status in ('waiting', 'failing', 'completed', 'failed'))
) partition by range (began_at);
alter table pgsched.durable_steps replica identity full;

-- A step is recorded once in a run.
create unique index durable_steps_name on pgsched.durable_steps (task_id, began_at, name, key);

create table pgsched.durable_steps_default partition of pgsched.durable_steps default;
alter table pgsched.durable_steps_default replica identity full;

-- The mailboxes of durable tasks: events that were sent to them, see emit.
create table pgsched.durable_events (
  id bigint generated always as identity,                    -- Given by the database; of events of one name the lowest
                                                             -- is consumed first.
  task_id bigint not null,                                   -- The task that it was sent to.
  tick_number integer not null,                              -- The tick that was under way, or was the next one: an
                                                             -- event that no wait has consumed is not left to another
                                                             -- tick.
  name text not null,                                        -- What the task waits for.
  payload jsonb,                                             -- What the wait returns: any JSON value.
  key text,                                                  -- A second event of the same task, tick, name and key is
                                                             -- not stored. Null: every one is.
  sent_by text not null default session_user,                -- The database role that sent it.
  sent_at timestamptz not null default clock_timestamp(),    -- When it was sent.
  consumed_at timestamptz,                                   -- When a wait took it. Null: none has.
  sent_in xid8 not null default pg_current_xact_id(),        -- The transaction that sent it. Those that send several
                                                             -- events lock their tasks in the order of the ids.
  constraint durable_events_pkey primary key (id)
);
alter table pgsched.durable_events replica identity full;

-- What waits in the mailbox of a task.
create index durable_events_mailbox on pgsched.durable_events (task_id, name, id) where consumed_at is null;

-- All events of a task.
create index durable_events_task on pgsched.durable_events (task_id, id);

-- Events by time: a summary of block ranges.
create index durable_events_time on pgsched.durable_events using brin (sent_at);

-- Of events with one key the first is kept.
create unique index event_key_must_be_unique on pgsched.durable_events (task_id, tick_number, name, key)
  where key is not null;

-- Queues --------------------------------------------------------------------------------------------------------------
-- Their settings, and the counts that limits across all workers need.

-- Settings of queues; a queue without a row has the defaults.
create table pgsched.queues (
  name pgsched.queue_name not null,                             -- The queue.
  paused boolean not null default false,                        -- True: nothing is claimed from it; what runs goes on.
  ordering text not null default 'fifo',                        -- Within a priority the row that is due longest comes
                                                                -- first (fifo) or last (lifo).
  limits jsonb not null default '{}'::jsonb,                    -- What may run at once and how much may start in a
                                                                -- time, over all workers.
  retention interval,                                           -- Completed and cancelled tasks older than this are
                                                                -- deleted; 0: a task leaves in the transaction that
                                                                -- completes it. Null: as the settings say; 1000 years:
                                                                -- for ever.
  updated_at timestamptz not null default now(),                -- When a setting last changed.
  ageing interval,                                              -- A row that has waited so long counts as one priority
                                                                -- higher, for each such span.
  limits_changed_at timestamptz,                                -- When limits last changed.
  apart boolean generated always as (((limits <> '{}'::jsonb) or (ageing is not null))) stored,
                                                                -- It has limits or ageing, and a claim of its own.
  events boolean not null default false,                        -- Other programs are told what happens to its tasks, on
                                                                -- the channel pgsched_events.
  retention_count integer,                                      -- Of completed and cancelled tasks so many are kept,
                                                                -- the latest. Null: as the settings say; 2147483647:
                                                                -- all.
  dead_retention interval,                                      -- Dead tasks older than this are deleted. Null: as the
                                                                -- settings say; 1000 years: for ever.
  dead_retention_count integer,                                 -- Of dead tasks so many are kept, the latest. Null: as
                                                                -- the settings say; 2147483647: all.
  archive boolean,                                              -- Tasks are copied to archived_tasks before they are
                                                                -- deleted. Null: as the settings say.
  allow_short boolean not null default false,                   -- retention and dead_retention may be shorter than an
                                                                -- hour. False: such a value is refused, as a unit was
                                                                -- probably forgotten.
  resumed_at timestamptz,                                       -- When the queue was last no longer paused: silence of
                                                                -- its tasks is counted from then.
  paused_at timestamptz,                                        -- When the queue was paused. Null: it is not, or it was
                                                                -- before this column came.
  paused_by text,                                               -- Who paused it: the name given with the request, else
                                                                -- the database role.
  constraint queues_pkey primary key (name),
  -- A second or longer, at most 1000 years, and no part of it is negative.
  constraint ageing_must_be_between_1_second_and_1000_years
    check (ageing >= '00:00:01'::interval and ageing <= '1000 years'::interval and pgsched.is_forward(ageing)),
  -- In a lifo queue the rows that wait longest are not looked at.
  constraint ageing_needs_the_ordering_fifo check (ageing is null or ordering = 'fifo'),
  -- A count; 2147483647 stands for all.
  constraint dead_retention_count_must_not_be_negative check (dead_retention_count >= 0),
  -- An interval without a unit is in seconds: '7' would delete in seconds what was meant to be kept for days.
  constraint dead_retention_must_be_at_least_1_hour_unless_allow_short
    check (allow_short or dead_retention is null or dead_retention >= '01:00:00'::interval),
  -- 1000 years stand for ever.
  constraint dead_retention_must_be_at_most_1000_years check (dead_retention <= '1000 years'::interval),
  -- No part of it is negative.
  constraint dead_retention_must_not_be_negative check (pgsched.is_forward(dead_retention)),
  -- One of the two orders.
  constraint ordering_must_be_fifo_or_lifo check (ordering in ('fifo', 'lifo')),
  -- A count; 2147483647 stands for all.
  constraint retention_count_must_not_be_negative check (retention_count >= 0),
  -- An interval without a unit is in seconds: '7' would delete in seconds what was meant to be kept for days. 0 has no
  -- unit, and says that tasks leave when they are completed.
  constraint retention_must_be_at_least_1_hour_unless_allow_short
    check (allow_short or retention is null or retention = '00:00:00'::interval or retention >= '01:00:00'::interval),
  -- 1000 years stand for ever.
  constraint retention_must_be_at_most_1000_years check (retention <= '1000 years'::interval),
  -- No part of it is negative.
  constraint retention_must_not_be_negative check (pgsched.is_forward(retention))
);

-- The queues whose tasks leave when they are completed.
create index queues_leaving on pgsched.queues (name) where retention = '00:00:00'::interval;

-- What runs of queues with a limit of concurrency, each claim with its fencing token.
create table pgsched.slots (
  queue text not null,              -- The queue.
  key text not null,                -- The concurrency_key of the task; empty: it has none.
  task_id bigint not null,          -- The task.
  fencing_token bigint not null,    -- The token of the claim: the slot is good while the task runs under it.
  constraint slots_pkey primary key (queue, key, task_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- How much was started of queues with a limit of rate, and when.
create table pgsched.starts (
  queue text not null,           -- The queue.
  key text not null,             -- The concurrency_key; empty: the queue as a whole.
  since timestamptz not null,    -- The step of time that is counted in one row.
  at timestamptz not null,       -- When the last of them started.
  number integer not null,       -- How many started in this step.
  constraint starts_pkey primary key (queue, key, since)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Which key of a queue with limits per key was served last; unlogged: after a crash the first key comes first again.
create unlogged table pgsched.turns (
  queue text not null,         -- The queue.
  key text not null,           -- The key that was served last.
  roamed_priority smallint,    -- Behind many rows with keys: at which priority the search for rows without one goes on.
  roamed_at timestamptz,       -- At which next_run_at it goes on.
  roamed_id bigint,            -- At which id it goes on.
  constraint turns_pkey primary key (queue)
) with (fillfactor = 50);

-- How many tasks of each queue were due, minute by minute, for the last two hours. Written by workers; the forecast of
-- when a backlog is drained is made from it.
create table pgsched.backlogs (
  queue text not null,          -- The queue.
  at timestamptz not null,      -- When it was counted.
  due bigint not null,          -- How many tasks were due, those that ran included.
  exact boolean not null,       -- False: they are many, and were estimated.
  oldest_due_at timestamptz,    -- Since when the first of them that did not run was due.
  constraint backlogs_pkey primary key (queue, at)
);

-- Workers -------------------------------------------------------------------------------------------------------------
-- What workers report about themselves and what they found.

-- One row per worker process that is alive, or was a moment ago; unlogged: what a crash empties, the next heartbeat
-- writes again.
create unlogged table pgsched.workers (
  id uuid not null,                                      -- Of this start of the process: made up anew by each.
  hostname text not null,                                -- The machine.
  pid integer not null,                                  -- The process on it.
  queues text[] not null,                                -- The queues that it serves by name.
  task_types text[] not null,                            -- The types that it has handlers for.
  declared_keys text[] not null default '{}'::text[],    -- The idempotency keys of the schedules that its code
                                                         -- declares.
  concurrency integer not null,                          -- So many tasks run in it at once.
  running integer not null default 0,                    -- How many of its slots are occupied, as of the last
                                                         -- heartbeat; also by what has overstayed its timeout and
                                                         -- cannot be stopped.
  started_at timestamptz not null default now(),         -- When it started.
  heartbeat_at timestamptz not null default now(),       -- When it was last heard of.
  lease interval not null,                               -- How long its claims are good for without a heartbeat.
  sleeping_until timestamptz,                            -- Until when it sleeps: an insert that is due before notifies
                                                         -- it. Null: it is awake.
  patterns text[] not null default '{}'::text[],         -- Patterns of LIKE: the worker serves the queues that match
                                                         -- one, too.
  troubles jsonb not null default '[]'::jsonb,           -- What is wrong in it, as of the last heartbeat: objects of
                                                         -- kind, object, since, stops and detail. Empty: nothing, or a
                                                         -- program that does not tell.
  pgsched_version text,                                  -- The version of pgsched that it runs; of a worker in another
                                                         -- language, the language and version of its client. Null: one
                                                         -- that does not tell.
  code_version text,                                     -- The version of the application, as App(version=…) names it.
  state text,                                            -- active, paused (it claims nothing) or draining (it ends when
                                                         -- its tasks have), as of the last heartbeat. Null: a program
                                                         -- that takes no requests.
  request text,                                          -- What it was asked to do: pause or drain. Null: to work.
  requested_by text,                                     -- Who asked: the name given with the request, else the
                                                         -- database role.
  requested_at timestamptz,                              -- When.
  constraint workers_pkey primary key (id),
  -- One of the two requests.
  constraint request_must_be_pause_or_drain check (request in ('pause', 'drain')),
  -- One of the three states.
  constraint state_must_be_active_paused_or_draining check (state in ('active', 'paused', 'draining')),
  -- Each element is one trouble.
  constraint troubles_must_be_an_array check (jsonb_typeof(troubles) = 'array')
) with (fillfactor = 50);

-- Where each worker ran, kept as long as the history: pgsched.workers has those that are there alone. Written when a
-- worker starts and when it is gone.
create table pgsched.worker_hosts (
  id uuid not null,                                -- The worker: worker_id of the history, locked_by of tasks.
  hostname text not null,                          -- The machine.
  pid integer not null,                            -- The process on it.
  started_at timestamptz not null,                 -- When it started.
  last_seen timestamptz not null default now(),    -- When it was last known to be there: at its end, else when the
                                                   -- history was last pruned.
  -- One row a worker.
  constraint worker_hosts_pkey primary key (id)
);

-- Tasks that a worker could not claim, or whose outcome it could not write: it goes on without them and tries again.
create unlogged table pgsched.set_aside (
  worker_id uuid not null,       -- The worker that set the task aside.
  task_id bigint not null,       -- The task; deleted tasks may still be listed for a while.
  task_type text not null,       -- The handler of the task.
  queue text not null,           -- The queue of the task.
  operation text not null,       -- What failed: claim or finish.
  reason text not null,          -- The message of the database.
  tries integer not null,        -- How often the operation was tried.
  since timestamptz not null,    -- When the operation failed for the first time.
  constraint set_aside_pkey primary key (worker_id, task_id),
  -- These two are done for many rows at once, so that one row could fail the others.
  constraint operation_must_be_claim_or_finish check (operation in ('claim', 'finish'))
) with (fillfactor = 50);

-- Whether a task is set aside.
create index set_aside_task on pgsched.set_aside (task_id);

-- What the workers last found to be wrong: one row.
create unlogged table pgsched.watchdog (
  only_row boolean not null default true,         -- There is no other row.
  looked_at timestamptz not null,                 -- When a worker last began to look.
  worker_id uuid,                                 -- Which worker that was.
  findings jsonb not null default '[]'::jsonb,    -- What it found, as pgsched doctor --json has it.
  complete_at timestamptz,                        -- When a worker last looked at everything; in between they look at
                                                  -- what presses.
  constraint watchdog_pkey primary key (only_row),
  -- The last look takes the place of the one before.
  constraint watchdog_must_have_one_row check (only_row)
) with (fillfactor = 50);

-- The register --------------------------------------------------------------------------------------------------------
-- What workers report about the handlers of the application.

-- The register: each type that an application has a handler for, written by its workers when they start and by pgsched
-- sync.
create table pgsched.handlers (
  task_type pgsched.task_type not null,                -- The type. '*': a handler for the types that no other has.
  payload_schema jsonb,                                -- The JSON Schema of the payload. Null: not told.
  result_schema jsonb,                                 -- The JSON Schema of the result. Null: not told.
  description text,                                    -- What the handler does, from its docstring.
  version text,                                        -- The version of the code that registered it last.
  strict boolean not null default false,               -- True: an INSERT whose payload lacks a required key, has an
                                                       -- unknown one or one of another JSON type is refused.
  registered_at timestamptz not null default now(),    -- When what is registered last changed.
  seen_at timestamptz not null default now(),          -- When a worker or pgsched sync last registered it, to the hour.
  retired_at timestamptz,                              -- When pgsched sync found it no longer in the code. An INSERT of
                                                       -- the type is told of as one that nobody has a handler for.
  versions jsonb not null default '[]'::jsonb,         -- The last 20 versions of the code that registered it, the
                                                       -- newest last, in the order in which they came first: objects
                                                       -- with version, code (what tells it from others) and since.
  misfit_at timestamptz,                               -- When a payload last did not fit an older version of the code,
                                                       -- and its task was left to a newer one.
  misfit_task_id bigint,                               -- The task of that payload.
  durable boolean not null default false,              -- True: its runs record their steps, and tasks of the type take
                                                       -- events.
  -- One row a type.
  constraint handlers_pkey primary key (task_type),
  -- What appends to it needs one.
  constraint versions_must_be_a_list check (jsonb_typeof(versions) = 'array')
);

-- What a handler or a queue says of all of its tasks; the row of a task says more, and the handler more than the queue.
-- Null: nothing.
create table pgsched.task_defaults (
  kind text not null,                               -- Who says it: handler or queue.
  name text not null,                               -- The task_type of the handler, or the name of the queue.
  queue pgsched.queue_name,                         -- What a task has that says nothing of queue.
  priority pgsched.priority,                        -- What a task has that says nothing of priority.
  task_name text,                                   -- What a task has that says nothing of task_name.
  tags pgsched.tags,                                -- What a task has that says nothing of tags.
  metadata pgsched.metadata,                        -- What a task has that says nothing of metadata.
  tenant_id text,                                   -- What a task has that says nothing of tenant_id.
  user_id text,                                     -- What a task has that says nothing of user_id.
  created_by text,                                  -- What a task has that says nothing of created_by.
  timezone text,                                    -- What a task has that says nothing of timezone.
  on_missed pgsched.on_missed,                      -- What a task has that says nothing of on_missed.
  catchup_window pgsched.catchup_window,            -- What a task has that says nothing of catchup_window.
  overlap pgsched.overlap,                          -- What a task has that says nothing of overlap.
  jitter pgsched.jitter,                            -- What a task has that says nothing of jitter.
  max_attempts pgsched.max_attempts,                -- What a task has that says nothing of max_attempts.
  backoff pgsched.backoff,                          -- What a task has that says nothing of backoff.
  backoff_delay pgsched.backoff_delay,              -- What a task has that says nothing of backoff_delay.
  backoff_max pgsched.backoff_max,                  -- What a task has that says nothing of backoff_max.
  backoff_factor pgsched.backoff_factor,            -- What a task has that says nothing of backoff_factor.
  backoff_jitter pgsched.backoff_jitter,            -- What a task has that says nothing of backoff_jitter.
  timeout pgsched.timeout,                          -- What a task has that says nothing of timeout.
  dependency_mode pgsched.dependency_mode,          -- What a task has that says nothing of dependency_mode.
  on_dependency_dead pgsched.on_dependency_dead,    -- What a task has that says nothing of on_dependency_dead.
  concurrency_key pgsched.concurrency_key,          -- What a task has that says nothing of concurrency_key.
  alert_if_no_success_for interval,                 -- What a task has that says nothing of alert_if_no_success_for.
  alert_if_running_for interval,                    -- What a task has that says nothing of alert_if_running_for.
  cost integer,                                     -- For how many starts a task counts by the rate of its queue; null:
                                                    -- for one.
  -- One row for each handler and queue.
  constraint task_defaults_pkey primary key (kind, name),
  -- A start counts for one at least.
  constraint cost_must_be_between_1_and_1000000 check (cost >= 1 and cost <= 1000000),
  -- It says of one task which schedule it follows.
  constraint dependency_mode_each_is_for_single_tasks check (dependency_mode::text <> 'each'),
  -- Nobody else says anything.
  constraint kind_must_be_handler_or_queue check (kind in ('handler', 'queue')),
  -- As types have.
  constraint name_must_have_1_to_200_characters check (length(name) >= 1 and length(name) <= 200),
  -- A queue knows which one it is.
  constraint queue_is_said_by_handlers_alone check (kind = 'handler' or queue is null)
);

-- Statistics of the history -------------------------------------------------------------------------------------------
-- Aggregates that upkeep maintains, so that showing a day does not count executions.

-- Attempts that ended, by type, queue and time: counted from the history by upkeep, kept longer than it.
create table pgsched.type_counts (
  seconds integer not null,                                  -- How long the bucket is: 300 (kept 8 days), 3600 (15
                                                             -- days), 21600 (31 days) or 86400 (400 days).
  bucket timestamptz not null,                               -- When it begins; attempts are counted by finished_at.
                                                             -- Days are days of UTC.
  task_type text not null,                                   -- The type; empty: what was beyond 1,000 types and queues
                                                             -- of a bucket.
  queue text not null,                                       -- The queue.
  completed bigint not null default 0,                       -- Attempts that completed.
  failed bigint not null default 0,                          -- Attempts that failed.
  timed_out bigint not null default 0,                       -- Attempts that timed out.
  cancelled bigint not null default 0,                       -- Attempts that were cancelled, or expired.
  lost bigint not null default 0,                            -- Attempts whose worker died or was cut off.
  snoozed bigint not null default 0,                         -- Attempts that put their task off without being counted.
  run_seconds double precision not null default 0,           -- How long those that completed, failed or timed out took
                                                             -- together.
  run_max double precision,                                  -- The longest of them, in seconds.
  run_bins smallint[] not null default '{}'::smallint[],     -- Which bins of pgsched.duration_bin their durations are
                                                             -- in, in order.
  run_counts bigint[] not null default '{}'::bigint[],       -- How many are in each of these bins.
  wait_seconds double precision not null default 0,          -- How long first attempts started after their
                                                             -- scheduled_for, together.
  wait_max double precision,                                 -- The longest of these waits, in seconds.
  wait_bins smallint[] not null default '{}'::smallint[],    -- Which bins the waits are in, in order.
  wait_counts bigint[] not null default '{}'::bigint[],      -- How many are in each of these bins.
  -- One row for each type and queue of a bucket.
  constraint type_counts_pkey primary key (seconds, bucket, task_type, queue)
) with (fillfactor = 70);

-- Errors that are the same but for what differs from task to task: numbers, ids, quoted texts, times.
create table pgsched.error_groups (
  fingerprint text not null,                      -- What names the group: a hash of exception and message.
  exception text not null,                        -- The class of the exception; empty: it was none of a handler.
  message text not null,                          -- The message with placeholders, cut at 300 characters.
  first_seen timestamptz not null,                -- When an attempt first failed with it, as far as it is kept: 90 days
                                                  -- after the last time.
  last_seen timestamptz not null,                 -- When one last did.
  noted_at timestamptz not null default now(),    -- When the group was written: at most 500 new ones a day are, the
                                                  -- rest is counted as other.
  -- One row a group.
  constraint error_groups_pkey primary key (fingerprint)
);

-- Failed, timed out and lost attempts by error, type, queue and time: counted from the history by upkeep.
create table pgsched.error_counts (
  seconds integer not null,           -- How long the bucket is, as in pgsched.type_counts.
  bucket timestamptz not null,        -- When it begins.
  fingerprint text not null,          -- The group; other: what was beyond the most frequent ones.
  task_type text not null,            -- The type; empty for other.
  queue text not null,                -- The queue; empty for other.
  number bigint not null,             -- How many attempts.
  first_seen timestamptz not null,    -- When the first of them ended.
  last_seen timestamptz not null,     -- When the last of them ended.
  task_id bigint,                     -- The task of one of them.
  -- One row for each group, type and queue of a bucket.
  constraint error_counts_pkey primary key (seconds, bucket, fingerprint, task_type, queue)
);

-- How far the history is counted. One row.
create table pgsched.roll_up_state (
  only_row boolean not null default true,                       -- True.
  next_at timestamptz not null default now(),                   -- When the next worker takes the turn.
  worker_id uuid,                                               -- The worker that took the last one.
  counted_until timestamptz,                                    -- What ended by then is counted, but for what was
                                                                -- committed later. Null: nothing is.
  fresh_from timestamptz,                                       -- The bucket that the next turn counts first.
  settled_until timestamptz[] not null default '{}'::timestamptz[],
                                                                -- Up to when it was counted again for what was
                                                                -- committed late: 10 minutes, 2 hours and 2 days after.
  -- One row.
  constraint roll_up_state_pkey primary key (only_row),
  -- One row.
  constraint there_is_one_row check (only_row)
);

-- When each version of a handler's code became the newest one of the register; kept 400 days, the newest for ever.
create table pgsched.handler_versions (
  task_type text not null,       -- The type.
  since timestamptz not null,    -- When it did.
  version text,                  -- The version; null: the application names none.
  code text,                     -- What tells it from others.
  -- One row a version.
  constraint handler_versions_pkey primary key (task_type, since)
);

-- Time ----------------------------------------------------------------------------------------------------------------
-- Inputs for computing schedules.

-- Days that cron expressions leave out by name, as except=@holidays.
create table pgsched.calendars (
  name text not null,      -- What expressions call it, after an @.
  days text[] not null,    -- As 12-25, of every year, and 2030-04-19.
  constraint calendars_pkey primary key (name),
  -- A day that cannot be read would be left out of nothing.
  constraint days_must_be_up_to_1000_as_12_25_and_2030_04_19 check (pgsched.are_days(days)),
  -- Cron expressions name it.
  constraint name_must_be_a_word_of_lower_case check (name ~ '^[a-z][a-z0-9_-]{0,62}$')
);

-- The IANA time zones that the server knew when the schema was made.
create table pgsched.timezones (
  name text not null,    -- As Europe/Berlin.
  constraint timezones_pkey primary key (name)
);

-- The rules of the zones of schedules by which their ticks are booked.
create table pgsched.zone_rules (
  zone text not null,                             -- The IANA zone.
  since timestamptz not null,                     -- The years that are known, from here on.
  until timestamptz not null,                     -- The end of these years.
  changes timestamptz[] not null,                 -- When the clocks change.
  offsets integer[] not null,                     -- Seconds east of UTC: before the first change, and from each on.
  noted_at timestamptz not null default now(),    -- When the rules were noted.
  constraint zone_rules_pkey primary key (zone)
);

-- Locks ---------------------------------------------------------------------------------------------------------------
-- Named locks for programs.

create sequence pgsched.lock_tokens;

-- Locks by name: one row for each that is held, or that was not given back in time.
create table pgsched.locks (
  name text not null,                                -- What is locked.
  owner uuid not null,                               -- Who has it: an id that the owner made up for this one
                                                     -- acquisition.
  holder text,                                       -- Who has it, for people: host and process.
  fencing_token bigint not null,                     -- Grows with every acquisition and never goes back.
  locked_until timestamptz not null,                 -- When the lock ends; past it anybody may take it.
  acquired_at timestamptz not null default now(),    -- When it was taken.
  constraint locks_pkey primary key (name),
  -- 500 characters at most.
  constraint lock_holder_must_have_at_most_500_characters check (length(holder) <= 500),
  -- 1 to 200 characters.
  constraint lock_name_must_have_1_to_200_characters check (length(name) >= 1 and length(name) <= 200),
  -- No line ends, tabs or other control characters: names are shown in terminals and logs.
  constraint lock_name_must_not_contain_control_characters check (name !~ '[[:cntrl:]]')
) with (fillfactor = 50);
alter sequence pgsched.lock_tokens owned by pgsched.locks.fencing_token;

-- Shards --------------------------------------------------------------------------------------------------------------
-- Several databases as one system, and the moves of tenants between them.

create sequence pgsched.shard_changes;

-- The databases that form one system, this one among them. Empty: this database stands alone.
create table pgsched.shards (
  name text not null,                                           -- The name of the shard.
  is_here boolean not null,                                     -- Whether it is this database.
  is_hashed boolean not null,                                   -- Whether the hash of a shard key may choose it. A
                                                                -- shard that was added later gets only tenants that are
                                                                -- moved to it.
  changed_at timestamptz not null default clock_timestamp(),    -- When the row was last changed. A move of a tenant
                                                                -- changes that of this database, by which older
                                                                -- snapshots are noticed.
  constraint shards_pkey primary key (name),
  -- It is a part of addresses.
  constraint shard_name_must_have_1_to_40_letters_digits_and_dots check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$')
);
alter sequence pgsched.shard_changes owned by pgsched.shards.changed_at;

-- A database is one shard.
create unique index shard_is_here_once on pgsched.shards (is_here) where is_here;

-- The tenants that were moved to this database or from it. All others are where their hash says.
create table pgsched.placements (
  tenant_id text not null,                                      -- The tenant, as in tasks.tenant_id.
  state text not null,                                          -- arriving or here: it was moved to this database;
                                                                -- leaving or left: it was moved from it, and inserts of
                                                                -- its tasks are refused.
  shard text not null,                                          -- Where the tenant is, or moves to: its tasks are
                                                                -- inserted there.
  peer text not null,                                           -- The other shard of the last move.
  version bigint not null,                                      -- The number of the move; of several statements about a
                                                                -- tenant the highest counts.
  changed_at timestamptz not null default clock_timestamp(),    -- When the state last changed.
  constraint placements_pkey primary key (tenant_id),
  -- The states of a move, on either side.
  constraint state_must_be_arriving_here_leaving_or_left check (state in ('arriving', 'here', 'leaving', 'left'))
);

-- Tasks that were taken from pgsched.tasks by a move and are not yet known to have arrived: nobody runs them here.
create table pgsched.departing_tasks (
  id bigint not null,         -- Their id in this database.
  tenant_id text not null,    -- The tenant that is moved.
  task jsonb not null,        -- The row as it was.
  constraint departing_tasks_pkey primary key (id)
);

-- Those of one move, in order.
create index departing_tasks_tenant on pgsched.departing_tasks (tenant_id, id);

-- Tasks of tenants that were moved to this database: where they were before.
create table pgsched.arrived_tasks (
  shard text not null,        -- The shard that they came from.
  id bigint not null,         -- Their id there.
  tenant_id text not null,    -- Their tenant.
  task_id bigint,             -- Their id here. Null: the task stayed there, and only its idempotency_key is reserved
                              -- here.
  idempotency_key text,       -- The key of a task that stayed.
  constraint arrived_tasks_pkey primary key (shard, id)
);

-- Reserved keys: an insert with one of them is refused.
create index arrived_tasks_key on pgsched.arrived_tasks (idempotency_key) where idempotency_key is not null;

-- Administration ------------------------------------------------------------------------------------------------------

-- What holds for queues that say nothing else, and for the history: one row.
create table pgsched.settings (
  only_row boolean not null default true,           -- There is no other row.
  retention interval,                               -- Completed and cancelled tasks older than this are deleted, where
                                                    -- the queue says nothing else; 0: a task leaves in the transaction
                                                    -- that completes it. Null: for ever.
  retention_count integer,                          -- Of completed and cancelled tasks each queue keeps so many, where
                                                    -- it says nothing else. Null: all.
  dead_retention interval,                          -- Dead tasks older than this are deleted, where the queue says
                                                    -- nothing else. Null: for ever.
  dead_retention_count integer,                     -- Of dead tasks each queue keeps so many, where it says nothing
                                                    -- else. Null: all.
  archive boolean not null default false,           -- Tasks are copied to archived_tasks before they are deleted, where
                                                    -- the queue says nothing else.
  history_retention interval,                       -- Days of the history that ended longer ago are dropped:
                                                    -- executions, log lines, missed ticks. Null: never.
  updated_at timestamptz not null default now(),    -- When a setting last changed.
  allow_short boolean not null default false,       -- retention and dead_retention may be shorter than an hour. False:
                                                    -- such a value is refused, as a unit was probably forgotten.
  unknown_types text not null default 'tell',       -- What becomes of an INSERT of a type that is not in the register:
                                                    -- accept, tell (a NOTICE names the type most like it) or refuse.
                                                    -- While the register is empty each is accepted.
  constraint settings_pkey primary key (only_row),
  -- A count.
  constraint dead_retention_count_must_not_be_negative check (dead_retention_count >= 0),
  -- An interval without a unit is in seconds: '7' would delete in seconds what was meant to be kept for days.
  constraint dead_retention_must_be_at_least_1_hour_unless_allow_short
    check (allow_short or dead_retention is null or dead_retention >= '01:00:00'::interval),
  -- 1000 years stand for ever.
  constraint dead_retention_must_be_at_most_1000_years check (dead_retention <= '1000 years'::interval),
  -- No part of it is negative.
  constraint dead_retention_must_not_be_negative check (pgsched.is_forward(dead_retention)),
  -- The history is dropped by whole days, so a day is the least; no part of it is negative.
  constraint history_retention_must_be_between_1_day_and_1000_years
    check (pgsched.is_forward(history_retention) and history_retention >= '1 day'::interval
      and history_retention <= '1000 years'::interval),
  -- A count.
  constraint retention_count_must_not_be_negative check (retention_count >= 0),
  -- An interval without a unit is in seconds: '7' would delete in seconds what was meant to be kept for days.
  constraint retention_must_be_at_least_1_hour_unless_allow_short
    check (allow_short or retention is null or retention >= '01:00:00'::interval),
  -- 1000 years stand for ever.
  constraint retention_must_be_at_most_1000_years check (retention <= '1000 years'::interval),
  -- No part of it is negative.
  constraint retention_must_not_be_negative check (pgsched.is_forward(retention)),
  -- They hold for all queues that say nothing else.
  constraint settings_must_have_one_row check (only_row),
  -- One of three words.
  constraint unknown_types_must_be_accept_tell_or_refuse check (unknown_types in ('accept', 'tell', 'refuse'))
);

-- The database that the tasks belong to, in one row. Workers do not start in any other database until somebody adopts
-- it. No row: not noted yet; workers start.
create table pgsched.database_identity (
  only_row boolean not null default true,         -- There is no other row.
  system_identifier bigint,                       -- Of the server, by pg_control_system(). Null: the role that noted it
                                                  -- may not call that function; then only the oid is compared.
  database_oid bigint not null,                   -- Of the database in that server. A rename keeps it; create database
                                                  -- gives a new one.
  database_name text not null,                    -- The name at that time, for people: it is not compared.
  noted_at timestamptz not null default now(),    -- Since when the tasks belong to it.
  noted_by text,                                  -- Who noted it: the role that migrated, or who adopted it.
  held_at timestamptz,                            -- Since when workers are held back, whatever the identity: for copies
                                                  -- of a whole server, which have the same. Null: they are not.
  held_by text,                                   -- Who held them back.
  constraint database_identity_pkey primary key (only_row),
  -- There is no second row.
  constraint there_must_be_one_database_identity check (only_row)
);

-- What people and programs changed through the web, and who they were.
create table pgsched.audit_log (
  id bigint generated always as identity,               -- Given by the database, in the order of the changes.
  at timestamptz not null default clock_timestamp(),    -- When.
  actor text not null,                                  -- The name given at login, else the role; local when no tokens
                                                        -- are set.
  role text not null,                                   -- viewer or operator: which token was used.
  remote text,                                          -- The address that the request came from.
  action text not null,                                 -- What was done, as task.cancel or queue.pause.
  task_id bigint,                                       -- To which task; it may be deleted by now.
  queue text,                                           -- To which queue.
  target text,                                          -- To what else, in words.
  before jsonb,                                         -- What was changed, as it was; never a payload.
  after jsonb,                                          -- What was changed, as it became; never a payload.
  task_ids bigint[],                                    -- The tasks that a change to many was made to; one in batches
                                                        -- has an entry for each.
  constraint audit_log_pkey primary key (id),
  -- 1 to 100 characters.
  constraint audit_action_must_have_1_to_100_characters check (length(action) >= 1 and length(action) <= 100),
  -- Which token was used.
  constraint audit_role_must_be_viewer_or_operator check (role in ('viewer', 'operator'))
);

-- The changes of one task.
create index audit_log_by_task on pgsched.audit_log (task_id, id) where task_id is not null;

-- The changes to many that were made to a task, too.
create index audit_log_by_tasks on pgsched.audit_log using gin (task_ids) with (fastupdate=off)
  where task_ids is not null;

-- Changes to all tasks that fit a filter, made in batches by a dashboard: each batch, its entries in the audit log and
-- how far the change is are one transaction.
create table pgsched.bulk_changes (
  id bigint generated always as identity,                       -- Given by the database.
  action text not null,                                         -- What is done to each task: enable, disable, run,
                                                                -- cancel, retry or delete.
  filter jsonb not null,                                        -- Which tasks: filters by their names, with times as
                                                                -- they were when the change was asked for.
  described text not null,                                      -- The filter as terms of the search language.
  status text not null default 'waiting',                       -- waiting (it can be undone), running, undone (nothing
                                                                -- was changed), stopped, failed, or done.
  actor text not null,                                          -- Who asked for it, as in the audit log.
  role text not null,                                           -- By which token.
  remote text,                                                  -- From which address.
  created_at timestamptz not null default clock_timestamp(),    -- When it was asked for.
  starts_at timestamptz not null,                               -- When it begins, unless it is undone before.
  ended_at timestamptz,                                         -- When it was over: done, undone, stopped or failed.
  expected bigint,                                              -- Number of tasks that fitted when it was asked for.
                                                                -- Null: too many to count.
  before_id bigint,                                             -- Tasks with this id or a higher one have been looked
                                                                -- at. Null: none has.
  looked_at bigint not null default 0,                          -- Number of tasks that fitted so far.
  changed bigint not null default 0,                            -- Number of them that were changed; the action did not
                                                                -- suit the others.
  unsuited bigint[] not null default '{}'::bigint[],            -- The first 100 tasks that fitted and stayed as they
                                                                -- were.
  error text,                                                   -- Why it failed.
  runner uuid,                                                  -- The dashboard that makes it.
  leased_until timestamptz,                                     -- Another dashboard goes on with it after this time.
  constraint bulk_changes_pkey primary key (id),
  -- What change_tasks does.
  constraint bulk_action_must_be_known check (action in ('enable', 'disable', 'run', 'cancel', 'retry', 'delete')),
  -- One of six words.
  constraint bulk_status_must_be_known check (status in ('waiting', 'running', 'undone', 'stopped', 'failed', 'done'))
);

-- What is to be made.
create index bulk_changes_open on pgsched.bulk_changes (id) where status in ('waiting', 'running');

-- Sessions of the web face that were logged out before they ended: their cookies open nothing any more.
create table pgsched.revoked_sessions (
  id text not null,                                             -- The id in the cookie. It opens nothing without the
                                                                -- signature.
  ends_at timestamptz not null,                                 -- When the session would have ended by itself; the row
                                                                -- is deleted later.
  revoked_at timestamptz not null default clock_timestamp(),    -- When it was logged out.
  constraint revoked_sessions_pkey primary key (id),
  -- It is random.
  constraint revoked_session_id_must_have_20_to_64_characters check (length(id) >= 20 and length(id) <= 64)
);
alter table pgsched.revoked_sessions replica identity full;

-- What was logged out since a moment.
create index revoked_sessions_time on pgsched.revoked_sessions (revoked_at);

-- Searches of tasks that have a name, for all who look at this database.
create table pgsched.saved_views (
  name text not null,                                         -- What it is called, in the dashboard and in its address.
  query text not null,                                        -- Terms of the search language; times as how long ago
                                                              -- stay so.
  saved_by text not null,                                     -- Who saved it last.
  saved_at timestamptz not null default clock_timestamp(),    -- When that was.
  constraint saved_views_pkey primary key (name),
  -- It is a part of an address.
  constraint view_name_must_be_a_word_of_lower_case check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  -- As a query may have.
  constraint view_query_must_have_1_to_2000_characters check (length(query) >= 1 and length(query) <= 2000)
);

-- The version of the schema: one row per migration that was applied.
create table pgsched.migrations (
  version integer not null,                         -- Its number; the highest is the version of the schema.
  name text not null,                               -- What it is about.
  applied_at timestamptz not null default now(),    -- When.
  works_with integer,                               -- Programs made for this version of the schema, or a later one,
                                                    -- work with it after this migration.
  constraint migrations_pkey primary key (version)
);

-- =====================================================================================================================
-- 4. Views
-- =====================================================================================================================

-- Views for all roles -------------------------------------------------------------------------------------------------
-- Each shows a role only the rows that it may see.

-- The tasks that you may see: all for roles that may read pgsched.tasks; for others those that they inserted, and their
-- children.
create view pgsched.visible_tasks with (security_barrier = true) as
 select id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by,
    schedule_type, scheduled_for, cron_expression, timezone, start_date, end_date, repeat_interval, repeat_count,
    execution_count, on_missed, catchup_window, overlap, jitter, enabled, status, next_run_at, last_run_at, started_at,
    completed_at, died_at, attempts, max_attempts, backoff, backoff_delay, backoff_max, timeout, locked_by,
    locked_until, fencing_token, idempotency_key, depends_on, dependency_mode, on_dependency_dead, waiting_for, fired,
    concurrency_key, parent_id, progress, result, last_error, planned_from, created_at, updated_at, observed, revision,
    declared, inserted_by, backoff_factor, backoff_jitter, alert_if_no_success_for, alert_if_running_for, judged_from,
    expires_at
   from pgsched.tasks t
  where has_table_privilege('pgsched.tasks', 'select') or inserted_by = session_user or (exists ( select
           from pgsched.tasks p
          where p.id = t.parent_id and p.inserted_by = session_user));

-- Tasks that left pgsched.tasks when they were completed (retention 0), as the history keeps them. Of visible_tasks
-- only.
create view pgsched.departed_tasks with (security_barrier = true) as
 select e.task_id as id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id,
    t.user_id, t.created_by, t.schedule_type, t.scheduled_for, t.cron_expression, t.timezone, t.start_date, t.end_date,
    t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.overlap, t.jitter, t.enabled,
    t.status, t.next_run_at, t.last_run_at, t.started_at, t.completed_at, t.died_at, t.attempts, t.max_attempts,
    t.backoff, t.backoff_delay, t.backoff_max, t.timeout, t.locked_by, t.locked_until, t.fencing_token,
    t.idempotency_key, t.depends_on, t.dependency_mode, t.on_dependency_dead, t.waiting_for, t.fired, t.concurrency_key,
    t.parent_id, t.progress, t.result, t.last_error, t.planned_from, t.created_at, t.updated_at, t.observed, t.revision,
    t.declared, t.inserted_by, t.backoff_factor, t.backoff_jitter, t.alert_if_no_success_for, t.alert_if_running_for,
    t.judged_from, t.expires_at
   from pgsched.executions e
     cross join lateral jsonb_populate_record(null::pgsched.tasks, ('{"tags": [], "status": "completed", "backoff": "exponential", "enabled": true, "overlap": "skip", "payload": {}, "metadata": {}, "observed": false, "priority": 5, "revision": 0, "timezone": "UTC", "on_missed": "once", "depends_on": [], "backoff_max": "1 hour", "waiting_for": 0, "max_attempts": 3, "backoff_delay": "5 seconds", "schedule_type": "one_time", "dependency_mode": "all", "execution_count": 1, "on_dependency_dead": "cancel"}'::jsonb || jsonb_build_object('task_type', e.task_type, 'queue', e.queue, 'attempts', e.attempt, 'fencing_token', e.fencing_token, 'scheduled_for', e.scheduled_for, 'created_at', e.scheduled_for, 'planned_from', coalesce(e.task -> 'created_at', to_jsonb(e.scheduled_for)), 'started_at', e.started_at, 'last_run_at', e.started_at, 'completed_at', e.finished_at, 'updated_at', e.finished_at, 'result', e.result)) || e.task) t(id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type, scheduled_for, cron_expression, timezone, start_date, end_date, repeat_interval, repeat_count, on_missed, catchup_window, overlap, jitter, enabled, max_attempts, backoff, backoff_delay, backoff_max, timeout, idempotency_key, depends_on, dependency_mode, parent_id, declared, planned_from, revision, created_at, execution_count, completed_at, died_at, last_run_at, updated_at, next_run_at, status, started_at, attempts, locked_by, locked_until, fencing_token, progress, result, last_error, on_dependency_dead, concurrency_key, waiting_for, observed, fired, unbegun_token, inserted_by, backoff_factor, backoff_jitter, alert_if_no_success_for, alert_if_running_for, judged_from, expires_at, early_ticks)
  where e.task is not null and (has_table_privilege('pgsched.tasks', 'select')
    or (e.task ->> 'inserted_by') = session_user or (exists ( select
           from pgsched.tasks p
          where p.id = ((e.task ->> 'parent_id')::bigint) and p.inserted_by = session_user)));

-- The keys of departed_tasks, to look one up by an index; of those that you may see only. A key may have left more than
-- once.
create view pgsched.departed_keys with (security_barrier = true) as
 select task ->> 'idempotency_key' as idempotency_key, task_id as id
   from pgsched.executions e
  where (task ->> 'idempotency_key') is not null and (has_table_privilege('pgsched.tasks', 'select')
    or (task ->> 'inserted_by') = session_user or (exists ( select
           from pgsched.tasks p
          where p.id = ((e.task ->> 'parent_id')::bigint) and p.inserted_by = session_user)));

-- visible_tasks, then departed_tasks: to look a task up by its id.
create view pgsched.known_tasks with (security_barrier = true) as
 select visible_tasks.id, visible_tasks.task_type, visible_tasks.task_name, visible_tasks.queue, visible_tasks.priority,
    visible_tasks.payload, visible_tasks.metadata, visible_tasks.tags, visible_tasks.tenant_id, visible_tasks.user_id,
    visible_tasks.created_by, visible_tasks.schedule_type, visible_tasks.scheduled_for, visible_tasks.cron_expression,
    visible_tasks.timezone, visible_tasks.start_date, visible_tasks.end_date, visible_tasks.repeat_interval,
    visible_tasks.repeat_count, visible_tasks.execution_count, visible_tasks.on_missed, visible_tasks.catchup_window,
    visible_tasks.overlap, visible_tasks.jitter, visible_tasks.enabled, visible_tasks.status, visible_tasks.next_run_at,
    visible_tasks.last_run_at, visible_tasks.started_at, visible_tasks.completed_at, visible_tasks.died_at,
    visible_tasks.attempts, visible_tasks.max_attempts, visible_tasks.backoff, visible_tasks.backoff_delay,
    visible_tasks.backoff_max, visible_tasks.timeout, visible_tasks.locked_by, visible_tasks.locked_until,
    visible_tasks.fencing_token, visible_tasks.idempotency_key, visible_tasks.depends_on, visible_tasks.dependency_mode,
    visible_tasks.on_dependency_dead, visible_tasks.waiting_for, visible_tasks.fired, visible_tasks.concurrency_key,
    visible_tasks.parent_id, visible_tasks.progress, visible_tasks.result, visible_tasks.last_error,
    visible_tasks.planned_from, visible_tasks.created_at, visible_tasks.updated_at, visible_tasks.observed,
    visible_tasks.revision, visible_tasks.declared, visible_tasks.inserted_by, visible_tasks.backoff_factor,
    visible_tasks.backoff_jitter, visible_tasks.alert_if_no_success_for, visible_tasks.alert_if_running_for,
    visible_tasks.judged_from, visible_tasks.expires_at
   from pgsched.visible_tasks
union all
 select departed_tasks.id, departed_tasks.task_type, departed_tasks.task_name, departed_tasks.queue,
    departed_tasks.priority, departed_tasks.payload, departed_tasks.metadata, departed_tasks.tags,
    departed_tasks.tenant_id, departed_tasks.user_id, departed_tasks.created_by, departed_tasks.schedule_type,
    departed_tasks.scheduled_for, departed_tasks.cron_expression, departed_tasks.timezone, departed_tasks.start_date,
    departed_tasks.end_date, departed_tasks.repeat_interval, departed_tasks.repeat_count,
    departed_tasks.execution_count, departed_tasks.on_missed, departed_tasks.catchup_window, departed_tasks.overlap,
    departed_tasks.jitter, departed_tasks.enabled, departed_tasks.status, departed_tasks.next_run_at,
    departed_tasks.last_run_at, departed_tasks.started_at, departed_tasks.completed_at, departed_tasks.died_at,
    departed_tasks.attempts, departed_tasks.max_attempts, departed_tasks.backoff, departed_tasks.backoff_delay,
    departed_tasks.backoff_max, departed_tasks.timeout, departed_tasks.locked_by, departed_tasks.locked_until,
    departed_tasks.fencing_token, departed_tasks.idempotency_key, departed_tasks.depends_on,
    departed_tasks.dependency_mode, departed_tasks.on_dependency_dead, departed_tasks.waiting_for, departed_tasks.fired,
    departed_tasks.concurrency_key, departed_tasks.parent_id, departed_tasks.progress, departed_tasks.result,
    departed_tasks.last_error, departed_tasks.planned_from, departed_tasks.created_at, departed_tasks.updated_at,
    departed_tasks.observed, departed_tasks.revision, departed_tasks.declared, departed_tasks.inserted_by,
    departed_tasks.backoff_factor, departed_tasks.backoff_jitter, departed_tasks.alert_if_no_success_for,
    departed_tasks.alert_if_running_for, departed_tasks.judged_from, departed_tasks.expires_at
   from pgsched.departed_tasks;

-- The history of the tasks in visible_tasks; all of it for roles that may read pgsched.executions.
create view pgsched.visible_executions with (security_barrier = true) as
 select task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
    duration_ms, result, error
   from pgsched.executions e
  where has_table_privilege('pgsched.executions', 'select') or (exists ( select
           from pgsched.visible_tasks t
          where t.id = e.task_id)) or (exists ( select
           from pgsched.departed_tasks t
          where t.id = e.task_id));

-- The missed ticks of the tasks in visible_tasks; all of them for roles that may read pgsched.missed_ticks.
create view pgsched.visible_missed_ticks with (security_barrier = true) as
 select task_id, task_type, queue, reason, ticks, first_tick, next_tick, noted_at
   from pgsched.missed_ticks m
  where has_table_privilege('pgsched.missed_ticks', 'select') or (exists ( select
           from pgsched.visible_tasks t
          where t.id = m.task_id));

-- The attempts under way: who makes them, and since when. Of visible_tasks only; of tasks that take a few milliseconds
-- not all.
create view pgsched.running_attempts with (security_barrier = true) as
 select t.id as task_id, t.task_type, t.queue, t.attempts as attempt, t.fencing_token, t.scheduled_for,
    t.locked_by as worker_id, t.started_at, t.locked_until, h.hostname, h.pid
   from pgsched.tasks t
     left join pgsched.worker_hosts h on h.id = t.locked_by and has_table_privilege('pgsched.worker_hosts', 'select')
  where t.status::text = 'running' and t.next_run_at is not null and t.started_at is not null
    and t.unbegun_token is distinct from t.fencing_token and (has_table_privilege('pgsched.tasks', 'select')
    or t.inserted_by = session_user or (exists ( select
           from pgsched.tasks p
          where p.id = t.parent_id and p.inserted_by = session_user)));

-- worker_hosts for roles that may read it, and nothing for others: so everybody may ask for both at once.
create view pgsched.visible_worker_hosts with (security_barrier = true) as
 select id, hostname, pid, started_at, last_seen
   from pgsched.worker_hosts h
  where has_table_privilege('pgsched.worker_hosts', 'select');

-- Tasks with alert_if_no_success_for or alert_if_running_for, and how they stand. Neither paused tasks nor those of a
-- paused queue are silent. Of visible_tasks only.
create view pgsched.watched_tasks with (security_barrier = true) as
 select t.id as task_id, t.task_type::text as task_type, t.task_name, t.queue::text as queue, t.alert_if_no_success_for,
    silence.since as no_success_since, t.alert_if_running_for, run.id as running_task_id, run.since as running_since,
    coalesce((silence.since + t.alert_if_no_success_for) < now(), false) as is_silent,
    coalesce((run.since + t.alert_if_running_for) < now(), false) as runs_too_long
   from pgsched.tasks t
     left join pgsched.queues q on q.name::text = t.queue::text
     left join lateral ( select
                case
                    when t.judged_from <= now() then t.judged_from
                    else null::timestamptz
                end as since) noted on true
     left join lateral ( select true as judged,
            greatest(( select max(e.finished_at) filter (where e.status = 'completed') as max
                   from ( select e_1.finished_at, e_1.status
                           from pgsched.executions e_1
                          where e_1.task_id = t.id and e_1.finished_at <= now() and e_1.started_at >=
                                case
                                    when noted.since is null then '-infinity'::timestamptz
                                    else greatest(noted.since, now() - t.alert_if_no_success_for) - '1 day'::interval
                                end
                          order by e_1.fencing_token desc
                         limit 1000) e), ( select max(c.completed_at) as max
                   from pgsched.tasks c
                  where c.parent_id = t.id and c.task_type::text = t.task_type::text
                    and (t.task_type::text <> 'pgsched.group' or c.payload::jsonb = t.payload::jsonb)
                    and c.status::text = 'completed' and c.completed_at <= now())) as at) success
                    on t.alert_if_no_success_for is not null and t.enabled and not coalesce(q.paused, false)
     left join lateral ( select greatest(
                case
                    when q.resumed_at <= now() then q.resumed_at
                    else null::timestamptz
                end, case
                    when coalesce(noted.since, success.at) is not null then greatest(noted.since, success.at, case
                        when t.last_run_at is null and t.execution_count::integer = 0 and not (exists ( select
                           from pgsched.missed_ticks m
                          where m.task_id = t.id)) then t.scheduled_for::timestamptz
                        else null::timestamptz
                    end)
                    else coalesce(least(t.scheduled_for::timestamptz, ( select coalesce(e.scheduled_for, e.started_at) as "coalesce"
                       from pgsched.executions e
                      where e.task_id = t.id
                      order by e.fencing_token
                     limit 1), ( select m.first_tick
                       from pgsched.missed_ticks m
                      where m.task_id = t.id
                      order by m.noted_at
                     limit 1), ( select min(c.scheduled_for::timestamptz) as min
                       from pgsched.tasks c
                      where c.parent_id = t.id and c.task_type::text = t.task_type::text
                        and (t.task_type::text <> 'pgsched.group'
                        or c.payload::jsonb = t.payload::jsonb))), greatest(t.created_at, t.start_date::timestamptz))
                end) as since) silence
                  on success.judged and not (t.schedule_type::text = 'one_time' and success.at is not null)
     left join lateral ( select k.id, k.since
           from ( select t.id, case
                            when t.status::text = 'running'
                              and t.unbegun_token is distinct from t.fencing_token then t.started_at
                            when t.status::text = 'blocked' and t.fired is not null then t.last_run_at
                            else null::timestamptz
                        end as since
                union all
                 select c.id, case
                            when c.status::text = 'running'
                              and c.unbegun_token is distinct from c.fencing_token then c.started_at
                            when c.status::text = 'blocked' and c.fired is not null then c.last_run_at
                            else null::timestamptz
                        end as "case"
                   from pgsched.tasks c
                  where c.parent_id = t.id and c.task_type::text = t.task_type::text
                    and (t.task_type::text <> 'pgsched.group' or c.payload::jsonb = t.payload::jsonb)) k
          where k.since is not null
          order by k.since
         limit 1) run on t.alert_if_running_for is not null
  where (t.alert_if_no_success_for is not null or t.alert_if_running_for is not null) and t.completed_at is null
    and (has_table_privilege('pgsched.tasks', 'select') or (exists ( select
           from pgsched.visible_tasks v
          where v.id = t.id)));

-- The durable runs of the tasks in visible_tasks; all of them for roles that may read pgsched.durable_runs.
create view pgsched.visible_durable_runs with (security_barrier = true) as
 select task_id, tick_number, began_at, code_version, awaits, wakes_at, unasked
   from pgsched.durable_runs r
  where has_table_privilege('pgsched.durable_runs', 'select') or (exists ( select
           from pgsched.visible_tasks t
          where t.id = r.task_id));

-- The recorded steps of the tasks in visible_tasks; all of them for roles that may read pgsched.durable_steps.
create view pgsched.visible_durable_steps with (security_barrier = true) as
 select task_id, began_at, tick_number, name, key, kind, status, attempts, result, error, child_id, cancels_child,
    event_id, wakes_at, started_at, finished_at, fencing_token
   from pgsched.durable_steps s
  where has_table_privilege('pgsched.durable_steps', 'select') or (exists ( select
           from pgsched.visible_tasks t
          where t.id = s.task_id)) or (exists ( select
           from pgsched.departed_tasks t
          where t.id = s.task_id));

-- The events that were sent to the tasks in visible_tasks; all of them for roles that may read pgsched.durable_events.
create view pgsched.visible_durable_events with (security_barrier = true) as
 select id, task_id, tick_number, name, payload, key, sent_by, sent_at, consumed_at, sent_in
   from pgsched.durable_events e
  where has_table_privilege('pgsched.durable_events', 'select') or (exists ( select
           from pgsched.visible_tasks t
          where t.id = e.task_id)) or (exists ( select
           from pgsched.departed_tasks t
          where t.id = e.task_id));

-- =====================================================================================================================
-- 5. Functions
-- =====================================================================================================================

-- Scheduling and changing tasks ---------------------------------------------------------------------------------------
-- Called by programs in any language.

-- Inserts a task and returns its id; on a known idempotency_key it returns the id of the task that has it. Null stands
-- for the default of the column.
-- run_at: Once, at this time; excludes delay and every kind of schedule.
-- delay: Once, so long from now, a day being 24 hours; excludes run_at and every kind of schedule.
-- backoff_factor: By what an exponential delay grows from retry to retry: 1 to 1000.
-- backoff_jitter: How far retries are spread around their delay, as a share of it: 0 to 1.
-- expires_at: One-time tasks: one that has not started by then is cancelled instead.
create function pgsched.schedule(
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
  alert_if_running_for interval default null, expires_at timestamptz default null
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
      alert_if_no_success_for, alert_if_running_for, expires_at)
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
      schedule.backoff_jitter, schedule.alert_if_no_success_for, schedule.alert_if_running_for,
      schedule.expires_at)
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

-- Inserts a task, unless one has its idempotency_key: then on_conflict says what becomes of that. return (keep): it
-- stays, and differs names what it has otherwise than given; update: it is changed to what is given; replace: it is
-- cancelled if it is not over, gives up the key, and the new one is inserted; refused while it runs; raise:
-- unique_violation. The keys of the object are the arguments of schedule(); times without an offset are UTC. outcome:
-- created, existing, updated, unchanged or replaced.
create function pgsched.schedule_by_key(
  task jsonb, on_conflict text default 'return', out id bigint, out outcome text, out differs text[]
) returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- Its names are the arguments of pgsched.schedule. Whoever may not update tasks may change those that he inserted.
declare
  key constant text := task ->> 'idempotency_key';
  given jsonb;
  at timestamptz := coalesce((task ->> 'run_at')::timestamptz, now() + (task ->> 'delay')::interval);
  present pgsched.tasks;
  wanted pgsched.tasks;
  replaced bigint;
  problem text := case
    when jsonb_typeof(task) is distinct from 'object' then 'a task must be a JSON object'
    when task ->> 'task_type' is null then 'task_type must be given'
    when key is null then 'idempotency_key must be given: it tells which task is meant'
    when on_conflict is null or on_conflict not in ('return', 'keep', 'update', 'replace', 'raise')
      then format('on_conflict must be return, keep, update, replace or raise, got %s', coalesce(on_conflict, 'null'))
    when task ->> 'run_at' is not null and task ->> 'delay' is not null then 'run_at and delay exclude each other'
    when at is not null and (task ->> 'cron_expression' is not null or task ->> 'repeat_interval' is not null)
      then 'run_at and delay are for one-time tasks; a schedule begins with start_date' end;
begin
  if problem is null then
    -- Written down, since reading them in the catalogue would cost each call more than the insert of its key.
    given := task - '{
      task_type, payload, run_at, delay, cron_expression, timezone, repeat_interval, repeat_count, start_date,
      end_date, queue, priority, idempotency_key, task_name, tags, metadata, tenant_id, user_id, created_by,
      max_attempts, backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter,
      enabled, parent_id, depends_on, dependency_mode, on_dependency_dead, concurrency_key, backoff_factor,
      backoff_jitter, alert_if_no_success_for, alert_if_running_for, expires_at}'::text[];
    if given <> '{}' then
      problem := format('%s is no argument of pgsched.schedule', (select min(k) from jsonb_object_keys(given) k));
    end if;
  end if;
  if problem is not null then
    raise invalid_parameter_value using message = problem;
  end if;
  differs := '{}';
  given := task - array['run_at', 'delay'];
  if task ->> 'cron_expression' is not null then
    given := '{"repeat_interval": null, "repeat_count": null}' || given;
  elsif task ->> 'repeat_interval' is not null then
    given := '{"cron_expression": null}' || given;
  elsif at is not null then
    given := given || jsonb_build_object('scheduled_for', at);
  end if;
  for try in 1..100 loop
    -- Looked for first: an insert that meets it would prepare a whole row for nothing.
    if on_conflict in ('update', 'replace') then
      -- Locked by whoever comes first; the next one finds what that made of it.
      select * into present from pgsched.tasks t where t.idempotency_key = key for no key update;
    else
      select * into present from pgsched.tasks t where t.idempotency_key = key;
    end if;
    exit when found and on_conflict <> 'replace';
    if found then
      perform pgsched.give_up_key(present, key);
      replaced := present.id;
    end if;
    insert into pgsched.tasks as t (
      task_type, payload, scheduled_for, cron_expression, timezone, repeat_interval, repeat_count, start_date, end_date,
      queue, priority, idempotency_key, task_name, tags, metadata, tenant_id, user_id, created_by, max_attempts,
      backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter, enabled, parent_id,
      depends_on, dependency_mode, on_dependency_dead, concurrency_key, backoff_factor, backoff_jitter,
      alert_if_no_success_for, alert_if_running_for, expires_at)
    select
      r.task_type, coalesce(r.payload, '{}'), r.scheduled_for, r.cron_expression, r.timezone, r.repeat_interval,
      r.repeat_count, r.start_date, r.end_date, r.queue, r.priority, r.idempotency_key, r.task_name, r.tags, r.metadata,
      r.tenant_id, r.user_id, r.created_by, r.max_attempts, r.backoff, r.backoff_delay, r.backoff_max, r.timeout,
      r.on_missed, r.catchup_window, r.overlap, r.jitter, coalesce(r.enabled, true), r.parent_id,
      coalesce(r.depends_on, '{}'), r.dependency_mode, r.on_dependency_dead, r.concurrency_key, r.backoff_factor,
      r.backoff_jitter, r.alert_if_no_success_for, r.alert_if_running_for, r.expires_at
    -- Types without the rules of the columns, which the insert asks for once; the whole row of the table has twice as many.
    from jsonb_to_record(given) r(
      task_type text, payload jsonb, scheduled_for timestamptz, cron_expression text, timezone text, repeat_interval interval,
      repeat_count integer, start_date timestamptz, end_date timestamptz, queue text, priority smallint,
      idempotency_key text, task_name text, tags text[], metadata jsonb, tenant_id text, user_id text, created_by text,
      max_attempts integer, backoff text, backoff_delay interval, backoff_max interval, timeout interval, on_missed text,
      catchup_window interval, overlap text, jitter interval, enabled boolean, parent_id bigint, depends_on bigint[],
      dependency_mode text, on_dependency_dead text, concurrency_key text, backoff_factor double precision,
      backoff_jitter double precision, alert_if_no_success_for interval, alert_if_running_for interval,
      expires_at timestamptz)
    on conflict (idempotency_key) where idempotency_key is not null do nothing
    returning t.id into id;
    if id is not null then
      outcome := case when replaced is null then 'created' else 'replaced' end;
      if replaced is not null and present.status in ('pending', 'blocked') then
        update pgsched.tasks t set last_error = format('replaced by task %s', schedule_by_key.id) where t.id = replaced;
      end if;
      return;
    end if;
  end loop;
  if present.id is null or on_conflict = 'replace' then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  end if;
  id := present.id;
  if on_conflict = 'raise' then
    raise unique_violation using message = format('the key %L is taken by task %s', key, id),
      detail = format('Key (idempotency_key)=(%s) is taken by task %s.', key, id),
      constraint = 'idempotency_key_must_be_unique', column = 'idempotency_key', table = 'tasks', schema = 'pgsched';
  elsif on_conflict in ('return', 'keep') then
    outcome := 'existing';
    -- Of a task that he may not see nobody learns what it has.
    if present.inserted_by = session_user or has_table_privilege(session_user, 'pgsched.tasks', 'select') then
      differs := pgsched.differing(task, present);
    end if;
    return;
  end if;
  wanted := jsonb_populate_record(present, given);
  outcome := case when to_jsonb(wanted) = to_jsonb(present) then 'unchanged' else 'updated' end;
  if present.inserted_by is distinct from session_user and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update') then
    raise insufficient_privilege using message = format('task %s has the idempotency_key %s, and was inserted by another role', id, key);
  elsif wanted.task_type <> present.task_type then
    raise invalid_parameter_value using
      message = format('task %s has the idempotency_key %s, and its task_type is %s, got %s', id, key, present.task_type, wanted.task_type);
  elsif present.status = 'cancelled'
    or outcome = 'updated' and present.schedule_type = 'one_time' and present.status in ('completed', 'dead') then
    raise object_not_in_prerequisite_state using
      message = format('task %s has the idempotency_key %s, and is %s: it cannot be changed', id, key, present.status);
  elsif at is not null and present.schedule_type <> 'one_time' then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s: run_at and delay are for one-time tasks', id, present.schedule_type);
  elsif outcome = 'updated' then
    execute (
      select format('update pgsched.tasks t set (%1$s) = (select %1$s from jsonb_populate_record($1, $2)) where t.id = $3',
        string_agg(quote_ident(k), ', '))
      from jsonb_object_keys(given) k) using present, given, id;
  end if;
end $$;

-- Inserts a task unless one like it holds: then on_conflict says what becomes of that, as in schedule_by_key().
-- task: The arguments of schedule(). Its idempotency_key says which task is like it; without one by does.
-- by: What makes two tasks of a type alike: payload (the default), payload.KEY, queue.
-- within: A task also holds for so long from when it was made, whatever has become of it, unless it was cancelled.
-- states: In which it holds: pending, blocked and running, unless they are given.
-- debounce: It starts so long after the last call: each one moves a task that has not started, and changes what is
-- given.
-- max_wait: With debounce: it starts at the latest so long after the first call.
create function pgsched.schedule_unique(
  task jsonb, by text[] default null, within interval default null, states text[] default null,
  debounce interval default null, max_wait interval default null, on_conflict text default 'return', out id bigint,
  out outcome text, out differs text[]
) returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- A task holds its key for as long as the rule says. One that holds it no longer gives it up here, to the next one: nothing
-- has to be done when a task ends. The unique index and locks of rows decide among many sessions.
declare
  key constant text := pgsched.unique_key(task, by);
  holding constant text[] := coalesce(states,
    case when debounce is null then '{pending,blocked,running}' else '{pending,blocked}' end::text[]);
  given jsonb := task;
  present pgsched.tasks;
  status text;
  departed bigint;
  problem text := case
    when on_conflict is null or on_conflict not in ('return', 'keep', 'update', 'replace', 'raise')
      then format('on_conflict must be return, keep, update, replace or raise, got %s', coalesce(on_conflict, 'null'))
    when within <= interval '0' or not pgsched.is_forward(within) then format('within must be more than 0, got %s', within)
    when debounce <= interval '0' or not pgsched.is_forward(debounce)
      then format('debounce must be more than 0, got %s', debounce)
    when max_wait is not null and debounce is null then 'max_wait needs debounce'
    when max_wait < debounce then format('max_wait must not be less than debounce, got %s and %s', max_wait, debounce)
    when debounce is not null and (within is not null or states is not null) then 'debounce excludes within and states'
    when debounce is not null and on_conflict in ('replace', 'raise') then format('debounce excludes on_conflict %s', on_conflict)
    when debounce is not null and (task ->> 'run_at' is not null or task ->> 'delay' is not null
      or task ->> 'cron_expression' is not null or task ->> 'repeat_interval' is not null)
      then 'debounce says when the task starts: run_at, delay and schedules exclude it'
    when not states <@ '{pending,blocked,running,completed,dead,cancelled}'
      then format('each of states must be pending, blocked, running, completed, dead or cancelled, got %s',
        array_to_string(states, ', ', 'null'))
    when cardinality(states) = 0 and within is null then 'states must name one where there is no within' end;
begin
  if problem is not null then
    raise invalid_parameter_value using message = problem;
  end if;
  given := given || jsonb_build_object('idempotency_key', key);
  for try in 1..100 loop
    select * into present from pgsched.tasks t where t.idempotency_key = key;
    if not found then
      if within is not null and on_conflict <> 'replace' then
        -- Where tasks leave when they are completed, the history has those of the period.
        select max(e.task_id) into departed from pgsched.executions e
        where e.task ->> 'idempotency_key' = key and e.started_at > now() - within
          and coalesce((e.task ->> 'created_at')::timestamptz, e.scheduled_for) > now() - within;
        exit when departed is not null;
      end if;
      if debounce is not null then
        given := given || jsonb_build_object('run_at', now() + debounce);
      end if;
      select s.id, s.outcome, s.differs into id, outcome, differs from pgsched.schedule_by_key(given, 'return') s;
      if outcome = 'created' then
        return;
      end if;
      continue;  -- somebody was sooner: whether that one holds the key is asked like of any other
    end if;
    status := case when present.status = 'blocked' and present.fired is not null then 'running' else present.status end;
    if status = any(holding) or within is not null and status <> 'cancelled' and present.created_at + within > now() then
      if debounce is null then
        select s.id, s.outcome, s.differs into id, outcome, differs from pgsched.schedule_by_key(given, on_conflict) s;
        return;
      end if;
    elsif present.inserted_by is distinct from session_user
      and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update')
      and (task ->> 'idempotency_key' is not null or status not in ('completed', 'dead', 'cancelled')) then
      raise insufficient_privilege using
        message = format('task %s has the idempotency_key %s, and was inserted by another role', present.id, key);
    end if;
    -- Locked, and as it is now: a worker may just have started it, or somebody else have moved it on.
    perform from pgsched.tasks t
    where t.id = present.id and t.idempotency_key = key and t.status = present.status
      and (t.fired is null) = (present.fired is null)
    for no key update;
    continue when not found;
    if debounce is not null and status = any(holding) then
      given := given || jsonb_build_object('run_at', least(now() + debounce, present.created_at + max_wait));
      select s.id, s.outcome, s.differs into id, outcome, differs from pgsched.schedule_by_key(given, 'update') s;
      return;
    end if;
    update pgsched.tasks t set idempotency_key = null where t.id = present.id;
  end loop;
  if departed is null then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  elsif on_conflict = 'raise' then
    raise unique_violation using message = format('the key %L is taken by task %s', key, departed),
      detail = format('Key (idempotency_key)=(%s) is taken by task %s.', key, departed),
      constraint = 'idempotency_key_must_be_unique', column = 'idempotency_key', table = 'tasks', schema = 'pgsched';
  elsif on_conflict = 'update' then
    raise object_not_in_prerequisite_state using
      message = format('task %s has the idempotency_key %s, and is completed: it cannot be changed', departed, key);
  end if;
  id := departed;
  outcome := 'existing';
  differs := '{}';
end $$;

-- Inserts a task, or changes the one with its idempotency_key: only what is given. Returns its id, and whether it was
-- created, updated or unchanged. The keys of the object are the arguments of schedule(); times without an offset are
-- UTC.
create function pgsched.upsert(task jsonb, out id bigint, out outcome text) returns record
language sql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
  select s.id, s.outcome from pgsched.schedule_by_key(task, 'update') s
$$;

-- The id of the task that has this idempotency_key, or had it when it left; of those that you may see. Raises
-- no_data_found as the other functions do for an unknown id.
create function pgsched.task_id(key text) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- With the rights of whoever asks: a task that he may not see is not there.
declare
  found_id bigint;
begin
  select t.id into found_id from pgsched.visible_tasks t where t.idempotency_key = key;
  if found_id is null then
    select max(d.id) into found_id from pgsched.departed_keys d where d.idempotency_key = key;
  end if;
  if found_id is null then
    raise no_data_found using message = format('a task with the key %L does not exist', key);
  end if;
  return found_id;
end $$;

-- Makes a waiting one-time task due now; for any other runs a copy (a child with parent_id) and leaves the task as it
-- is. Returns the id that runs.
-- id: The task.
-- run_by: Who asks for it: the created_by of the copy, and the run_by of its attempts in the history of the task. By
-- default the database role.
create function pgsched.run_now(id bigint, run_by text default null) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- The key of a copy says what it is (see run_by); its id is drawn before, because it is part of the key.
declare
  task pgsched.tasks := pgsched.locked_task(run_now.id);
  copy bigint;
  child bigint;
begin
  if task.schedule_type = 'one_time' and task.status = 'running' then
    raise object_not_in_prerequisite_state using message = format('task %s is running already', task.id);
  end if;
  if task.schedule_type = 'one_time' and task.status = 'pending' then
    update pgsched.tasks t set next_run_at = least(t.next_run_at, now()), enabled = true where t.id = task.id;
    return task.id;
  end if;
  copy := nextval('pgsched.tasks_id_seq');
  insert into pgsched.tasks as t (
    id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, timezone,
    max_attempts, backoff, backoff_delay, backoff_max, timeout, concurrency_key, parent_id, backoff_factor, backoff_jitter,
    on_missed, overlap, dependency_mode, on_dependency_dead, idempotency_key)  -- all that is to be said: it is complete
  values (
    copy, task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
    task.user_id, coalesce(nullif(run_by, ''), session_user), task.timezone, task.max_attempts, task.backoff,
    task.backoff_delay, task.backoff_max, task.timeout, task.concurrency_key, task.id, task.backoff_factor,
    task.backoff_jitter, 'once', 'skip', 'all', 'cancel', format('run:%s:%s', task.id, copy))
  returning t.id into child;
  if child is null then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  end if;
  return child;
end $$;

-- Who ran a task by hand, from these columns of it: the created_by of a copy that run_now has made; null for any other
-- task.
create function pgsched.run_by(parent_id bigint, idempotency_key text, created_by text) returns text
language sql immutable as $$
select case when idempotency_key like 'run:' || parent_id || ':%' then created_by end
$$;

-- The attempts at a task, the latest first, with the one under way; of a schedule also those of the children that run
-- its ticks, and those that somebody ran by hand (run_by). Of tasks that the caller may see.
-- id: The task.
-- max_rows: At most so many.
create function pgsched.history(
  id bigint, max_rows integer default 100
) returns table (
  task_id bigint, run_by text, attempt integer, status text, scheduled_for timestamptz, started_at timestamptz,
  finished_at timestamptz, duration_ms double precision, result jsonb, error text, worker_id uuid, fencing_token bigint
)
language sql stable
set search_path = pg_catalog, pg_temp as $$
-- Its own attempts, and of its children those that run its ticks and those that somebody ran by hand.
with run as (
  select history.id as task_id, (
    select pgsched.run_by(t.parent_id, t.idempotency_key, t.created_by) from pgsched.visible_tasks t
    where t.id = history.id) as run_by
  union all
  select c.id, pgsched.run_by(c.parent_id, c.idempotency_key, c.created_by)
  from pgsched.visible_tasks c
  where c.parent_id = history.id
    and (c.idempotency_key like 'tick:%' or c.idempotency_key like 'run:' || history.id || ':%')
)
select *
from (
  select r.task_id, run.run_by, r.attempt::integer, 'running', r.scheduled_for::timestamptz, r.started_at, null::timestamptz,
    null::double precision, null::jsonb, null::text, r.worker_id, r.fencing_token
  from run join pgsched.running_attempts r on r.task_id = run.task_id
  union all
  select e.task_id, run.run_by, e.attempt, case when e.status = 'cancelled' and e.attempt = 0 then 'snoozed' else e.status end,
    e.scheduled_for, e.started_at, e.finished_at, e.duration_ms, e.result, e.error, e.worker_id, e.fencing_token
  from run join pgsched.visible_executions e on e.task_id = run.task_id
) as of_all (
  task_id, run_by, attempt, status, scheduled_for, started_at, finished_at, duration_ms, result, error, worker_id,
  fencing_token)
order by of_all.started_at desc, of_all.fencing_token desc
limit max_rows
$$;

-- Lets a paused task run again; ticks that passed meanwhile follow on_missed, and without catch_up none of them runs.
-- True if it was paused.
create function pgsched.enable(id bigint, catch_up boolean default true) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(enable.id);
begin
  update pgsched.tasks t set enabled = true where t.id = task.id;
  if not (catch_up or task.enabled) and task.schedule_type <> 'one_time' and task.status = 'pending'
    and task.scheduled_for <= clock_timestamp() then
    perform pgsched.pass_over(task, clock_timestamp(), 'paused');
  end if;
  return not task.enabled;
end $$;

-- Pauses a task: it keeps its place and is not claimed. True if it was not paused before.
-- id: The task.
create function pgsched.disable(id bigint) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(disable.id);
begin
  update pgsched.tasks t set enabled = false where t.id = task.id;
  return task.enabled;
end $$;

-- Stops a task for good: at once while it waits; while it runs its worker is told, and what it still writes is refused.
-- id: The task.
create function pgsched.cancel(id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' set plan_cache_mode = 'force_generic_plan'
  set jit = 'off' as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
  children bigint[];
  child bigint;
begin
  -- The unfinished children of a group or a durable run first, and all of them locked before it, as their finishes do it.
  select nullif(array(select pgsched.children_of(t.id)), '{}') into children from pgsched.tasks t
  where t.id = cancel.id and t.status in ('pending', 'blocked', 'running');
  if children is not null then
    perform pgsched.lock_below(cancel.id);
    -- A group is not told of their ends, as it is cancelled too: each would write another version of its row, and the next one
    -- would have to pass them all.
    delete from pgsched.dependencies d where d.task_id = cancel.id;
    foreach child in array children loop
      -- One may have gone with another that it waits for.
      if exists (select from pgsched.tasks t where t.id = child and t.status in ('pending', 'blocked', 'running')) then
        perform pgsched.cancel(child);
      end if;
    end loop;
  end if;
  task := pgsched.locked_task(cancel.id);
  if task.status not in ('pending', 'blocked', 'running') then
    if children is not null and task.status = 'cancelled' then
      return;
    end if;
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be cancelled', task.id, task.status);
  end if;
  -- The token moves on, so whatever the worker that runs it still writes is fenced.
  update pgsched.tasks t
  set status = 'cancelled', next_run_at = null, locked_by = null, locked_until = null, completed_at = now(),
    fencing_token = greatest(nextval('pgsched.fencing_tokens'), t.fencing_token + 1), waiting_for = 0, updated_at = now()
  where t.id = task.id;
  delete from pgsched.dependencies d where d.task_id = task.id;
  -- A child that was made while the task was waited for; now none can be.
  for child in
    select c from pgsched.children_of(task.id) c join pgsched.tasks t on t.id = c
    where c <> all(coalesce(children, '{}')) and t.status in ('pending', 'blocked', 'running')
  loop
    perform pgsched.cancel(child);
  end loop;
  if task.status = 'running' then
    -- Not now(): the claim may have been made while this transaction waited for the row.
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, error)
    select task.id, task.task_type, task.queue, task.attempts, task.fencing_token, task.scheduled_for, task.locked_by,
      'cancelled', task.started_at, ended, extract(epoch from ended - task.started_at) * 1000, 'cancelled while running'
    from (select clock_timestamp() as ended) clock;
    perform pgsched.notify('pgsched_cancel', task.id::text);
  end if;
  perform pgsched.tell_cancelled(task);
  if task.observed then
    perform pgsched.settle(array[task.id]);
  end if;
end $$;

-- Gives a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now; with another
-- payload if one is given. Where it is a step, its group goes on.
-- id: The task.
-- payload: What it has as its payload from now on; null: what it has.
create function pgsched.retry(id bigint, payload jsonb default null) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.lock_steps(array[retry.id]);
  perform pgsched.retry_locked(retry.id, payload, null);
end $$;

-- For the schema: as retry, of a task whose group and its steps are locked (lock_steps).
create function pgsched.retry_locked(id bigint, payload jsonb, torn bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- What lock_steps locks is locked. `torn`: as for rejoin.
declare
  task pgsched.tasks;
begin
  task := pgsched.locked_task(retry_locked.id);
  if task.status not in ('dead', 'cancelled') and not (task.status = 'pending' and task.attempts > 0) then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be retried', task.id, task.status);
  elsif payload is not null and task.inserted_by is distinct from session_user
    and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update') then
    raise insufficient_privilege using
      message = format('task %s was inserted by another role: its payload cannot be changed', task.id);
  end if;
  update pgsched.tasks t
  set status = case when t.dependency_mode = 'each' then 'blocked' else 'pending' end, attempts = 0, died_at = null,
    completed_at = null, updated_at = now(), enabled = true,
    next_run_at = case when t.dependency_mode <> 'each' then now() end, fired = null, payload = coalesce(retry_locked.payload, t.payload),
    -- A schedule that ended goes on from now; a one-time task keeps its nominal time.
    planned_from = case when t.schedule_type = 'one_time' or task.status = 'pending' then t.planned_from else clock_timestamp() end
  where t.id = task.id;
  if task.dependency_mode = 'each' then
    -- It follows its schedule again, from the next tick on.
    perform pgsched.check_dependencies(task.id, task.depends_on);
    insert into pgsched.dependencies (upstream_id, task_id) values (task.depends_on[1], task.id) on conflict do nothing;
    update pgsched.tasks t set waiting_for = 1 where t.id = task.id;
    update pgsched.tasks t set observed = true where t.id = task.depends_on[1] and not t.observed;
  end if;
  if task.parent_id is not null then
    perform pgsched.rejoin(task.id, torn);
  end if;
end $$;

-- Books a schedule afresh from now, whatever it was booked for; returns when it is due, null when it is over.
create function pgsched.replan(id bigint) returns timestamptz
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
      then present else t.start_date end,
    early_ticks = nullif(array(
      select e.scheduled_for
      from pgsched.executions e
      where e.task_id = task.id and e.status = 'completed' and e.scheduled_for > present
        -- By the same clock, so it began later than its tick; or before, if the clock was set back during the run.
        and e.started_at > present - interval '1 day'
      union
      select c.scheduled_for from pgsched.tasks c where c.parent_id = task.id and c.scheduled_for > present
      union
      select early from unnest(t.early_ticks) early where early > present
      order by 1), '{}')
  where t.id = task.id
  returning t.next_run_at into due;
  return due;
end $$;

-- Runs the ticks of a schedule in a past range, each as a child with parent_id; not those that ran already, or are
-- still to run. outcome: run (it is to run; in a dry run without a task), ran (task_id ran it), booked (the schedule
-- runs it itself).
create function pgsched.backfill(
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
          timeout, concurrency_key, parent_id, idempotency_key, depends_on, on_dependency_dead, observed,
          on_missed, overlap, dependency_mode)
        values (
          task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
          task.user_id, task.created_by, 'one_time', tick, task.timezone, task.max_attempts, task.backoff,
          task.backoff_delay, task.backoff_max, task.backoff_factor, task.backoff_jitter, task.timeout, task.concurrency_key,
          task.id, format('tick:%s:%s', task.id, extract(epoch from tick)),
          case when task.overlap = 'skip' and before is not null then array[before] else '{}' end, 'run',
          task.observed, 'once', 'skip', 'all')
        returning t.id into task_id;
        before := task_id;
      end if;
    end if;
    return next;
  end loop;
end $$;

-- Skips the booked tick of a schedule, and notes that; again for one more. Returns it, and the tick that is booked
-- instead: null when the schedule is over.
create function pgsched.skip_next(id bigint, out tick timestamptz, out next_tick timestamptz) returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(skip_next.id);
begin
  if task.schedule_type = 'one_time' then
    raise object_not_in_prerequisite_state using
      message = format('task %s is one_time, and has no next tick: cancel it', task.id);
  elsif task.status <> 'pending' then
    raise object_not_in_prerequisite_state using message = format('task %s is %s, and has booked no tick to skip', task.id, task.status);
  end if;
  tick := task.scheduled_for;
  next_tick := pgsched.pass_over(task, tick, 'skipped');
end $$;

-- How a task is: status, attempts, next run, progress, result, error, and what a durable one waits for. Of tasks that
-- the caller may see.
create function pgsched.status(id bigint) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  found_task jsonb;
begin
  select jsonb_build_object(
    'id', t.id, 'task_type', t.task_type, 'task_name', t.task_name, 'queue', t.queue, 'status', t.status,
    'enabled', t.enabled, 'attempts', t.attempts, 'max_attempts', t.max_attempts, 'next_run_at', t.next_run_at,
    'started_at', case when t.status = 'running' then t.started_at end,
    'worker', case when t.status = 'running' then t.locked_by end, 'completed_at', t.completed_at, 'died_at', t.died_at,
    'progress', t.progress, 'result', t.result, 'last_error', t.last_error, 'awaits', r.awaits, 'wakes_at', r.wakes_at)
  into found_task
  from pgsched.known_tasks t
  left join pgsched.visible_durable_runs r on r.task_id = status.id and t.status = 'blocked'
  where t.id = status.id limit 1;
  if found_task is null then
    raise no_data_found using message = format('task %s does not exist', id);
  end if;
  return found_task;
end $$;

-- Waits until a task is completed and returns its result; of a schedule, and of a task that follows one, that of its
-- next completed tick. SQLSTATE PG002: it is dead or cancelled; PG003: the time is over. Looks after 10 ms, then less
-- often, at last twice a second.
create function pgsched.wait(id bigint, timeout interval default '00:01:00'::interval) returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Each look sees what has been committed by then, so the transaction must read committed rows. While this runs, its
-- caller holds a snapshot: vacuum cleans up nothing that has died since.
declare
  ends constant timestamptz := clock_timestamp() + timeout;
  pause double precision := 0.01;
  task record;
  begun bigint;
  since timestamptz;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise object_not_in_prerequisite_state using
      message = format('wait sees nothing new in a transaction that is %s', current_setting('transaction_isolation'));
  end if;
  loop
    select t.status::text as status, t.schedule_type <> 'one_time' or t.dependency_mode = 'each' as is_schedule,
      t.overlap::text as overlap, t.result, t.last_error, t.fencing_token
    into task
    from pgsched.known_tasks t where t.id = wait.id limit 1;
    if task is null then
      raise no_data_found using message = format('task %s does not exist', id);
    end if;
    begun := coalesce(begun, task.fencing_token - (task.status = 'running')::integer);
    since := coalesce(since, clock_timestamp());
    if task.status = 'completed' then
      return task.result;
    elsif task.status in ('dead', 'cancelled') then
      raise exception using errcode = 'PG002',
        message = format('task %s is %s', id, task.status) || coalesce(': ' || left(task.last_error, 1000), '');
    elsif task.is_schedule then
      select tick.result into task
      from (
        (select e.result from pgsched.visible_executions e
         where e.task_id = id and e.fencing_token > begun and e.status = 'completed'
         order by e.fencing_token limit 1)
        union all
        (select c.result from pgsched.visible_tasks c
         where c.parent_id = id and c.idempotency_key like 'tick:%' and c.status = 'completed'
           and c.completed_at >= since
         order by c.completed_at limit 1)
      ) tick limit 1;
      if found then
        return task.result;
      end if;
    end if;
    if clock_timestamp() >= ends then
      raise exception using errcode = 'PG003', message = format('task %s has not ended after %s', id, timeout);
    end if;
    perform pg_sleep(least(pause, greatest(extract(epoch from ends - clock_timestamp())::double precision, 0.001)));
    pause := least(pause * 1.5, 0.5);
  end loop;
end $$;

-- How many tasks are in each status. exact: counted by an index; otherwise estimated from the planner's statistics,
-- since there are too many to count.
-- queue: In this queue; null: in all.
create function pgsched.count_tasks(queue text default null) returns table(status text, number bigint, exact boolean)
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- Each index is read up to a cap: 100,000 entries where the index alone says it, fewer where rows are looked at. What is full
-- is estimated instead, and exact is false.
declare
  of_queue constant text := case when queue is null then '' else format(' and t.queue = %L', queue) end;
  names constant text := case when queue is null then 'pgsched.queues_in_use()' else format('(select %L::text)', queue) end;
  entries constant integer := 100000;
  looked_at constant integer := 10000;
  front constant integer := 1000;
  counted bigint;
  waiting bigint;
  running bigint;
  paused bigint;
  paused_running bigint;
  is_full boolean;
  is_exact boolean;
begin
  execute format(
    'select count(*) from (select from pgsched.tasks t where t.next_run_at is not null and t.enabled%s limit %s) c',
    of_queue, entries) into waiting;
  execute format(
    'select count(*) filter (where c.status = ''pending''), count(*) filter (where c.status = ''running''), count(*) = %2$s
     from (select t.status from pgsched.tasks t where not t.enabled%1$s limit %2$s) c',
    of_queue, looked_at) into paused, paused_running, is_full;
  is_exact := waiting < entries and not is_full;
  if waiting = entries then
    waiting := greatest(pgsched.about_rows('t.next_run_at is not null and t.enabled' || of_queue), entries);
  end if;
  -- What runs was due, and is in front of its queue and priority.
  execute format(
    'select coalesce(sum(f.running), 0), coalesce(bool_or(f.seen = %2$s), false)
     from %1$s as n(name) cross join generate_series(10, 1, -1) as p(priority)
     cross join lateral (
       select count(*) as seen, count(*) filter (where c.status = ''running'') as running
       from (
         select t.status from pgsched.tasks t
         where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
           and t.next_run_at <= now()
         order by t.next_run_at, t.id
         limit %2$s) c) f',
    names, front) into running, is_full;
  return query values
    ('pending', waiting - running + paused, is_exact and not is_full),
    ('running', running + paused_running, not is_full);

  -- Who waits for others has an edge for each; it goes when it is settled.
  execute format(
    'select count(*) from (select d.task_id from pgsched.dependencies d %s group by d.task_id order by d.task_id limit %s) c',
    case when queue is null then '' else format('join pgsched.tasks t on t.id = d.task_id and t.queue = %L', queue) end,
    entries) into counted;
  return query values ('blocked', counted, counted < entries);

  execute format(
    'select count(*) from (select from pgsched.tasks t where t.died_at is not null%s limit %s) c', of_queue, entries)
  into counted;
  is_exact := counted < entries;
  if not is_exact then
    counted := greatest(pgsched.about_rows('t.died_at is not null' || of_queue), entries);
  end if;
  return query values ('dead', counted, is_exact);

  -- By the index alone; the rows, which say more, are read where there are few.
  execute format(
    'select count(*) from (select from pgsched.tasks t where t.completed_at is not null%s limit %s) c', of_queue, looked_at)
  into counted;
  if counted < looked_at then
    execute 'select count(*) filter (where t.status = ''completed''), count(*) filter (where t.status = ''cancelled'')
       from pgsched.tasks t where t.completed_at is not null' || of_queue
    into waiting, counted;
    return query values ('completed', waiting, true), ('cancelled', counted, true);
  else
    return query values
      ('completed', pgsched.about_rows('t.status = ''completed''' || of_queue), false),
      ('cancelled', pgsched.about_rows('t.status = ''cancelled''' || of_queue), false);
  end if;
end $$;

-- For count_tasks: an estimate of how many tasks fit a condition, from the planner's statistics.
create function pgsched.about_rows(condition text) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What the planner expects, by the statistics of the last ANALYZE and the size that the table has now.
declare
  plan json;
begin
  execute 'explain (format json) select from pgsched.tasks t where ' || condition into plan;
  return (plan -> 0 -> 'Plan' ->> 'Plan Rows')::numeric::bigint;
end $$;

-- What will run from now on until within has passed, the first one first: one-time tasks and schedules, each schedule
-- once, by its next run. Not what is due already, waits for others or is paused.
-- within: How far to look ahead.
-- max_rows: Maximum number of rows.
-- queue: In this queue; null: in all.
-- after_time: With after_id, the run_at and task_id of the last row of the page before: the next page.
-- after_id: As after_time.
create function pgsched.upcoming(
  within interval default '24:00:00'::interval, max_rows integer default 1000, queue text default null,
  after_time timestamptz default null, after_id bigint default null
) returns table (
  run_at timestamptz, task_id bigint, task_type text, task_name text, queue_name text, priority integer,
  schedule_type text, cron_expression text, repeat_interval interval, tenant_id text, user_id text
)
language sql stable as $$
-- By the due clock: one probe for each queue and priority, which ends at the first row behind the time.
select u.next_run_at, u.id, t.task_type::text, t.task_name::text, t.queue::text, t.priority::integer,
  t.schedule_type::text, t.cron_expression::text, t.repeat_interval::interval, t.tenant_id::text, t.user_id::text
from (
  select f.next_run_at, f.id
  from pgsched.queues_in_use() as n(name)
  cross join generate_series(10, 1, -1) as p(priority)
  cross join lateral (
    select t.next_run_at, t.id
    from pgsched.tasks t
    where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
      and t.next_run_at > now() and t.next_run_at <= now() + upcoming.within
      and (upcoming.after_time is null
        or (t.next_run_at, t.id) > (upcoming.after_time, coalesce(upcoming.after_id, 9223372036854775807)))
    order by t.next_run_at, t.id
    limit upcoming.max_rows
  ) f
  where upcoming.queue is null or n.name = upcoming.queue
  order by f.next_run_at, f.id
  limit upcoming.max_rows
) u
cross join lateral (select t.* from pgsched.tasks t where t.id = u.id offset 0) t  -- by its id, whatever the planner expects
order by u.next_run_at, u.id
$$;

-- Does one thing to each of these tasks that it suits, in one transaction; returns the ids of those that were changed.
-- action: enable, disable, run, cancel, retry or delete.
-- ids: The tasks.
-- dry_run: True: changes nothing and only returns which it would be.
-- run_by: Who asks for the runs, as of run_now.
create function pgsched.change_tasks(
  action text, ids bigint[], dry_run boolean, run_by text default null
) returns setof bigint
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
declare
  one bigint;
  task pgsched.tasks;
  torn bigint[];
  cancelled bigint[];
begin
  if not dry_run then
    if action = 'retry' then
      perform pgsched.lock_steps(ids);
    end if;
    perform from pgsched.tasks t where t.id = any(ids) order by t.id for no key update;
    if action = 'retry' then
      torn := pgsched.torn_groups(ids);
    end if;
  end if;
  if action = 'delete' and not dry_run then
    return query
      select d.id from pgsched.delete_apart(
        ids, array['pending', 'blocked', 'completed', 'dead', 'cancelled']) d
      where d.refusal is null order by d.id;
    return;
  elsif action = 'cancel' and not dry_run then
    cancelled := array(select c from pgsched.cancel_waiting(ids) c order by c);
    return query select unnest(cancelled);
    ids := array(select unnest(ids) except select unnest(cancelled));
  end if;
  for one in
    select t.id from pgsched.tasks t cross join lateral (select action = 'retry' and t.task_type = 'pgsched.group' as late) l
    where t.id = any(ids)
    -- A retry of a step continues its group, which is not to be retried as a whole then.
    order by l.late, case when l.late then -t.id else t.id end
  loop
    -- Read again: it may have gone, or been cancelled, with another one.
    select * into task from pgsched.tasks t where t.id = one;
    continue when not found or not pgsched.may_change(action, task);
    if not dry_run then
      case action
        when 'enable' then perform pgsched.enable(one);
        when 'disable' then perform pgsched.disable(one);
        when 'run' then perform pgsched.run_now(one, run_by);
        when 'cancel' then perform pgsched.cancel(one);
        when 'retry' then perform pgsched.retry_locked(one, null, torn);
      end case;
    end if;
    return next one;
  end loop;
end $$;

-- For the schema: cancels those of these tasks, which the caller has locked, that wait for their time and whose end is
-- nobody else's business: without dependents, children, a suspended run, and events of their queue. Returns their ids.
create function pgsched.cancel_waiting(ids bigint[]) returns setof bigint
language sql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' set jit = 'off' as $$
update pgsched.tasks t
set status = 'cancelled', next_run_at = null, completed_at = now(), updated_at = now(),
  fencing_token = greatest(nextval('pgsched.fencing_tokens'), t.fencing_token + 1)
where t.id = any(cancel_waiting.ids) and t.status = 'pending' and not t.observed and t.fired is null
  and not exists (select from pgsched.durable_runs r where r.task_id = t.id)
  and not exists (select from pgsched.queues q where q.name = t.queue and q.events)
returning t.id
$$;

-- Whether an action suits a task as it is.
-- action: enable, disable, run, cancel, retry or delete.
-- task: The row of the task.
create function pgsched.may_change(action text, task pgsched.tasks) returns boolean
language sql immutable as $$
select case action
  when 'enable' then not task.enabled
  when 'disable' then task.enabled
  when 'run' then not (task.schedule_type = 'one_time' and task.status = 'running')
  when 'cancel' then task.status in ('pending', 'blocked', 'running')
  when 'retry' then task.status in ('dead', 'cancelled') or (task.status = 'pending' and task.attempts > 0)
  when 'delete' then task.status <> 'running'
end
$$;

-- Changes the payloads of tasks that wait for a run (pending, blocked, schedules) by a merge patch (RFC 7396), in one
-- transaction; returns those that it changes, with a refusal for each that stays as it is because its new payload is
-- not allowed.
-- ids: The tasks.
-- patch: An object: what it has is set, what is null in it is removed, objects are merged, all else is replaced.
-- dry_run: True: changes nothing and only returns which it would be.
create function pgsched.edit_payloads(
  ids bigint[], patch jsonb, dry_run boolean default false, out id bigint, out refusal text
) returns setof record
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
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

-- JSON with the changes that a merge patch (RFC 7396) makes: what it has is set, what is null in it is removed, objects
-- are merged, all else is replaced.
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

-- The version of a task: another one after each edit, the same whatever workers do with it.
-- task: The row, as to_jsonb(t).
create function pgsched.version_of(task jsonb) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
  set extra_float_digits = '1' as $$
-- The columns that an edit may set, and no other. The tick of a schedule is left out, as workers set it.
select left(encode(sha256(convert_to(row(
  t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id, t.created_by,
  case when t.schedule_type = 'one_time' then t.scheduled_for end, t.cron_expression, t.timezone, t.start_date,
  t.end_date, t.repeat_interval, t.repeat_count, t.on_missed, t.catchup_window, t.overlap, t.jitter, t.enabled,
  t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max, t.backoff_factor, t.backoff_jitter, t.timeout,
  t.idempotency_key, t.parent_id, t.depends_on, t.dependency_mode, t.on_dependency_dead, t.concurrency_key,
  t.alert_if_no_success_for, t.alert_if_running_for, t.expires_at)::text, 'UTF8')), 'hex'), 16)
from jsonb_populate_record(null::pgsched.tasks, task) t
$$;

-- For the schema: which of the arguments of schedule() that are given a task has otherwise; a delay is not compared.
create function pgsched.differing(task jsonb, present pgsched.tasks) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- What is not given is not compared: it may have come from a handler, or from an edit. A delay counts from each call, and each
-- call may be of another trace.
declare
  given constant jsonb := task - array['run_at', 'delay', 'idempotency_key'];
  has constant jsonb := to_jsonb(present);
  wanted constant jsonb := to_jsonb(jsonb_populate_record(present, given));
  traces constant text[] := array['traceparent', 'tracestate'];
  names text[] := '{}';
begin
  if wanted <> has then
    names := array(
      select k from jsonb_each(given) e(k, v)
      where v <> 'null' and case k
        when 'metadata' then (wanted -> k) - traces <> (has -> k) - traces
        else wanted -> k is distinct from has -> k end
      order by k);
  end if;
  if (task ->> 'run_at')::timestamptz <> coalesce(present.scheduled_for, '-infinity') then
    names := names || 'run_at'::text;
  end if;
  if present.schedule_type <> 'one_time' and task ->> 'cron_expression' is null and task ->> 'repeat_interval' is null then
    names := names || case present.schedule_type when 'recurring' then 'cron_expression' else 'repeat_interval' end;
  end if;
  return names;
end $$;

-- For the schema: takes its key from a task that is to be replaced, and cancels it if it is not over.
create function pgsched.give_up_key(present pgsched.tasks, key text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The row is locked. It stays, and so does all that is known of it: only its key is free.
begin
  if present.inserted_by is distinct from session_user and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update') then
    raise insufficient_privilege using
      message = format('task %s has the idempotency_key %s, and was inserted by another role', present.id, key);
  elsif present.status = 'running' or present.status = 'blocked' and present.fired is not null then
    raise object_not_in_prerequisite_state using
      message = format('task %s has the idempotency_key %s, and is running: it cannot be replaced', present.id, key);
  end if;
  if present.status in ('pending', 'blocked') then
    perform pgsched.cancel(present.id);
  end if;
  update pgsched.tasks t set idempotency_key = null where t.id = present.id;
end $$;

-- The idempotency_key that schedule_unique() gives a task: its own, or one made of its type and of what by names:
-- payload (the default), payload.KEY, queue.
create function pgsched.unique_key(task jsonb, by text[] default null) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A key of its own stands for itself. Else the type always counts; what is not in the payload counts as null.
declare
  payload constant jsonb := coalesce(nullif(task -> 'payload', 'null'), '{}');
  parts jsonb := '{}';
  word text;
begin
  if task ->> 'idempotency_key' is not null then
    if by is not null then
      raise invalid_parameter_value using
        message = 'by and idempotency_key exclude each other: a key of its own is unique by itself';
    end if;
    return task ->> 'idempotency_key';
  elsif task ->> 'task_type' is null then
    raise invalid_parameter_value using message = 'task_type must be given';
  elsif cardinality(by) = 0 then
    raise invalid_parameter_value using message = 'by must name queue, payload or payload.KEY, got nothing';
  end if;
  foreach word in array coalesce(by, '{payload}') loop
    if word = 'payload' then
      parts := parts || jsonb_build_object(word, payload);
    elsif word = 'queue' then
      parts := parts || jsonb_build_object(word, coalesce(
        task ->> 'queue',
        (select d.queue::text from pgsched.task_defaults d where d.kind = 'handler' and d.name = task ->> 'task_type'),
        'default'));
    elsif word like 'payload._%' then
      parts := parts || jsonb_build_object(word, payload -> substr(word, 9));
    else
      raise invalid_parameter_value using
        message = format('each of by must be queue, payload or payload.KEY, got %s', coalesce(word, 'null'));
    end if;
  end loop;
  return format('unique %s %s', task ->> 'task_type', left(encode(sha256(convert_to(parts::text, 'UTF8')), 'hex'), 32));
end $$;

-- For the schema: a task, locked until the end of the transaction; raises no_data_found.
create function pgsched.locked_task(id bigint) returns pgsched.tasks
language plpgsql
set enable_seqscan = 'off' as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
begin
  select * into task from pgsched.tasks t where t.id = locked_task.id for no key update;
  if not found then
    select t.* into task
    from pgsched.departed_tasks d
    cross join lateral jsonb_populate_record(null::pgsched.tasks, to_jsonb(d)) t
    where d.id = locked_task.id
    limit 1;
  end if;
  if task.id is null then
    raise no_data_found using message = format('task %s does not exist', id);
  end if;
  return task;
end $$;

-- For the schema: the instant so far from now, in text that any session reads alike.
create function pgsched.instant_after(delay interval) returns text
language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
-- Not 'UTC': a session may have a zone whose abbreviation that is, as UTC+14.
select to_char((now() + delay) at time zone interval '0', 'FMYYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- Inserting and editing a row -----------------------------------------------------------------------------------------
-- Triggers for each INSERT and UPDATE of pgsched.tasks.

-- For the schema: derives what an INSERT left out, refuses what makes no sense, sets the due clock and wakes a worker
-- that sleeps past it.
create function pgsched.prepare_task() returns trigger
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
      perform pgsched.notify('pgsched', new.queue);
    end if;
  end if;
  return new;
end $$;

-- For the schema: refuses an INSERT that sets what only a run of the task can say.
create function pgsched.guard_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses a row that says of itself what only a run of it can say. Three may: the tick of a schedule that the finish of its
-- parent inserts, which has its number; one that is dead; and any row in a session that restores rows as they were.
declare
  child boolean := exists (select from pgsched.tasks p where p.id = new.parent_id);
  buried boolean := child and new.status = 'dead' and new.died_at is not null;
  named text;
  value text;
begin
  if current_setting('pgsched.restoring', true) = 'on' then
    return new;
  end if;
  select g.named, g.value into named, value
  from (values
    ('status', new.status::text, new.status <> 'pending' and not buried),
    ('attempts', new.attempts::text, new.attempts <> 0 and not buried),
    ('died_at', new.died_at::text, new.died_at is not null and not buried),
    ('last_run_at', new.last_run_at::text, new.last_run_at is not null and not buried),
    ('last_error', left(new.last_error, 100), new.last_error is not null and not buried),
    ('completed_at', new.completed_at::text, new.completed_at is not null),
    ('started_at', new.started_at::text, new.started_at is not null),
    ('locked_by', new.locked_by::text, new.locked_by is not null),
    ('locked_until', new.locked_until::text, new.locked_until is not null),
    ('fencing_token', new.fencing_token::text, new.fencing_token <> 0),
    ('execution_count', new.execution_count::text, new.execution_count <> 0 and not child),
    ('revision', new.revision::text, new.revision <> 0),
    ('unbegun_token', new.unbegun_token::text, new.unbegun_token is not null),
    ('waiting_for', new.waiting_for::text, new.waiting_for <> 0),
    ('fired', left(new.fired::text, 100), new.fired is not null),
    ('progress', left(new.progress::text, 100), new.progress is not null),
    ('result', left(new.result::text, 100), new.result is not null)
  ) as g(named, value, foreign_value)
  where g.foreign_value
  limit 1;
  if named is not null then
    raise invalid_parameter_value using
      message = format('%s is set by pgsched and must be left out of an INSERT, got %s', named, value),
      hint = 'A new task is pending, and blocked when depends_on names tasks. To restore rows as they were: set pgsched.restoring = on.',
      column = named, table = 'tasks', schema = 'pgsched';
  end if;
  return new;
end $$;

-- For the schema: refuses to insert a task of a tenant that was moved to another database, or with a key that is in use
-- there.
create function pgsched.guard_placement() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Runs for each inserted row with a tenant and without a parent, so it must be cheap: one look into an index.
declare
  at record;
  kept record;
begin
  -- A move waits for the transactions that have a number when it begins. So this one takes its number before it looks: if
  -- it does not see the move, the move sees it.
  perform pg_current_xact_id();
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    -- Its snapshot may be older than a move. The lock fails (40001) if a move has changed the row since.
    perform from pgsched.shards s where s.is_here for share;
  end if;
  select p.state, p.shard, p.peer into at from pgsched.placements p where p.tenant_id = new.tenant_id;
  if not found or current_setting('pgsched.restoring', true) = 'on' then
    return new;
  end if;
  if at.state in ('leaving', 'left') then
    raise object_not_in_prerequisite_state using
      message = format('tenant %s has moved to shard %s', left(new.tenant_id, 100), at.shard),
      hint = 'Insert its tasks there. Clients that read the placements do so.',
      constraint = 'tenant_has_moved', column = 'tenant_id', table = 'tasks', schema = 'pgsched';
  end if;
  if new.idempotency_key is not null then
    if at.state = 'arriving' then
      raise object_not_in_prerequisite_state using
        message = format('tenant %s is moving from shard %s: tasks with an idempotency_key can be inserted when all have arrived',
          left(new.tenant_id, 100), at.peer),
        constraint = 'tenant_is_moving', column = 'tenant_id', table = 'tasks', schema = 'pgsched';
    end if;
    select a.shard, a.id into kept from pgsched.arrived_tasks a
    where a.idempotency_key = new.idempotency_key and a.task_id is null limit 1;
    if found then
      raise object_not_in_prerequisite_state using
        message = format('idempotency_key %s is that of task %s, which stayed in shard %s',
          quote_literal(left(new.idempotency_key, 100)), kept.id, kept.shard),
        constraint = 'key_stayed_behind', column = 'idempotency_key', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
  return new;
end $$;

-- For the schema: lets the sequence of ids pass an id that was given by hand.
create function pgsched.keep_ids_ahead() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  gap bigint := new.id - coalesce(pg_sequence_last_value('pgsched.tasks_id_seq'), 0);
begin
  if new.id >= 4611686018427387904 or gap <= 0 then
    return new;
  end if;
  if gap <= 1000000 then
    -- Drawn one by one: whoever draws beside us, the sequence never goes back.
    perform max(nextval('pgsched.tasks_id_seq')) from generate_series(1, gap);
  else
    -- Nobody draws so many between the look and the step.
    perform setval('pgsched.tasks_id_seq', new.id)
    where new.id - coalesce(pg_sequence_last_value('pgsched.tasks_id_seq'), 0) > 500000;
  end if;
  return new;
end $$;

-- For the schema: refuses a time zone or a cron expression that cannot be read.
create function pgsched.check_schedule(task pgsched.tasks) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses a time zone or a cron expression that cannot be read, naming column, value and rule.
declare
  problem text := pgsched.cron_problem(task.cron_expression);
begin
  perform pgsched.check_timezone(task.timezone);
  if problem is not null then
    raise invalid_parameter_value using
      message = format('cron_expression %L: %s', left(task.cron_expression, 100), problem),
      column = 'cron_expression', table = 'tasks', schema = 'pgsched';
  end if;
end $$;

-- For the schema: refuses what is no name of a time zone.
create function pgsched.check_timezone(timezone text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses what is no name of a time zone. The table is asked first: the view reads the files of all zones.
begin
  if timezone <> 'UTC'
    and not exists (select from pgsched.timezones z where z.name = timezone)
    and not exists (select from pg_timezone_names z where z.name = timezone
                    and z.name !~ '^(posix|right)/' and z.name not in ('localtime', 'posixrules', 'Factory')) then
    raise invalid_parameter_value using
      message = format('timezone must be a name of the IANA time zone database, got %L', left(timezone, 100)),
      column = 'timezone', table = 'tasks', schema = 'pgsched';
  end if;
end $$;

-- For the schema: keeps updated_at in step with edits.
create function pgsched.touch_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  new.updated_at := now();
  return new;
end $$;

-- For the schema: a one-time task whose scheduled_for is edited becomes due then.
create function pgsched.move_due_clock() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A one-time task whose nominal time was edited is due at its new time.
begin
  new.next_run_at := new.scheduled_for;
  new.updated_at := now();
  perform pgsched.wake_sleepers(new.queue, new.next_run_at);
  return new;
end $$;

-- For the schema: wakes a worker when an UPDATE makes a task due earlier.
create function pgsched.announce_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.wake_sleepers(new.queue, new.next_run_at);
  return new;
end $$;

-- For the schema: notifies the workers of a queue, if one sleeps past a time.
create function pgsched.wake_sleepers(queue text, due timestamptz) returns void
language plpgsql as $$
#variable_conflict use_variable
-- NOTIFY takes a lock that every committing session shares, so it is sent only when some worker sleeps past `due`.
begin
  if exists (select from pgsched.workers w
             where w.sleeping_until > due
               and (w.queues @> array[wake_sleepers.queue] or wake_sleepers.queue like any (w.patterns))) then
    perform pgsched.notify('pgsched', wake_sleepers.queue);
  end if;
end $$;

-- For the schema: sends a notification, unless half of the server's notification queue is in use: a full one would fail
-- the commit.
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

-- For the schema: sends the event that a task was cancelled, if its queue tells events.
create function pgsched.tell_cancelled(task pgsched.tasks) returns void
language plpgsql
set timezone = 'UTC' as $$
#variable_conflict use_variable
-- Without payload, and with names of at most 300 letters: far from the 8,000 bytes that NOTIFY carries.
begin
  if exists (select from pgsched.queues q where q.name = task.queue and q.events) then
    perform pgsched.notify('pgsched_events', json_build_object(
      'event', 'cancelled', 'id', task.id, 'task_type', task.task_type, 'queue', task.queue, 'attempt', task.attempts,
      'at', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'duration', case when task.status = 'running' then extract(epoch from now() - task.started_at) end,
      'error', null)::text);
  end if;
end $$;

-- For the schema: checks when silence is to be told of, and counts it afresh when a task is enabled.
create function pgsched.watch_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  named text;
  value interval;
  rule text;
begin
  for named, value in
    values ('alert_if_no_success_for', new.alert_if_no_success_for), ('alert_if_running_for', new.alert_if_running_for)
  loop
    rule := case when value < interval '1 second' or not pgsched.is_forward(value) then 'at least 1 second'
      when value > interval '1000 years' then 'at most 1000 years' end;
    if rule is not null then
      raise check_violation using
        message = format('%s must be %s, got %s', named, rule, value),
        constraint = format('%s_must_be_%s', named, replace(rule, ' ', '_')),
        column = named, table = 'tasks', schema = 'pgsched';
    end if;
  end loop;
  if tg_op = 'UPDATE' and new.enabled and not old.enabled then
    new.judged_from := now();
  end if;
  return new;
end $$;

-- For the schema: refuses an expires_at of a schedule, and one before the task is due.
create function pgsched.check_expiry() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  problem text := case
    when coalesce(new.schedule_type, 'one_time') <> 'one_time' or new.cron_expression is not null
      or new.repeat_interval is not null then 'is for one-time tasks; a schedule ends with end_date'
    when new.expires_at < '0001-01-02 00:00:00+00' or new.expires_at >= '9999-12-31 00:00:00+00'
      then 'must be between the years 1 and 9999'
    when new.expires_at <= new.scheduled_for and (tg_op = 'INSERT' or new.status in ('pending', 'blocked'))
      then format('must be after scheduled_for, got %s and %s', new.expires_at, new.scheduled_for) end;
begin
  if problem is not null then
    raise invalid_parameter_value using
      message = 'expires_at ' || problem, column = 'expires_at', table = 'tasks', schema = 'pgsched';
  end if;
  return new;
end $$;

-- The register --------------------------------------------------------------------------------------------------------
-- Defaults that handlers and queues set for their tasks, and the treatment of types without a registration.

-- For workers: writes handlers into the register. Returns the types whose entry is new or has changed.
create function pgsched.register(handlers jsonb) returns text[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- Each is an object with task_type, and what it says of defaults, payload_schema, result_schema, description, version,
-- strict and durable, which stays as it was where it is not said: older programs do not know it. newest is said by deployments.
-- In the order of the types, so that workers that start together cannot deadlock.
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
        and h.durable = coalesce((entry ->> 'durable')::boolean, h.durable)
        and (not coalesce((entry ->> 'newest')::boolean, false)
          or h.versions -> -1 ->> 'code' = pgsched.code_of(entry ->> 'version', entry -> 'payload_schema')));
    insert into pgsched.handlers as h (task_type, payload_schema, result_schema, description, version, strict, durable, versions)
    values (
      entry ->> 'task_type', nullif(entry -> 'payload_schema', 'null'), nullif(entry -> 'result_schema', 'null'),
      entry ->> 'description', entry ->> 'version', (wanted ->> 'strict')::boolean,
      coalesce((entry ->> 'durable')::boolean, false),
      pgsched.with_version('[]', entry ->> 'version', entry -> 'payload_schema', true))
    on conflict (task_type) do update
    set (payload_schema, result_schema, description, version, strict, durable, registered_at, seen_at, retired_at, versions) = (
      excluded.payload_schema, excluded.result_schema, excluded.description, excluded.version, excluded.strict,
      coalesce((entry ->> 'durable')::boolean, h.durable), now(), now(), null::timestamptz, pgsched.with_version(
        h.versions, excluded.version, excluded.payload_schema, coalesce((entry ->> 'newest')::boolean, false)));
    perform pgsched.set_defaults('handler', entry ->> 'task_type', entry -> 'defaults');
    written := written || (entry ->> 'task_type');
  end loop;
  return written;
end $$;

-- For the schema: the versions of a handler with one that registers: a new one is the newest, a known one stays where
-- it is unless a deployment says that it is the newest.
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

-- For the schema: what tells a version of a handler's code from others: the version, and the schema of its payload, for
-- applications that name none.
create function pgsched.code_of(version text, payload_schema jsonb) returns text
language sql immutable
return md5(((coalesce(version, '') || ' ') || (coalesce(nullif(payload_schema, 'null'::jsonb), '{}'::jsonb))::text));

-- For workers whose handler a payload does not fit: the newest version of the handler's code when theirs is older (else
-- null), how often the task has waited for it and for how many seconds; notes it in the register.
create function pgsched.note_misfit(
  task_id bigint, task_type text, version text, payload_schema jsonb, out newer jsonb, out waits integer,
  out seconds double precision
) returns record
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

-- Sets the options that the tasks of a handler or a queue (kind) have unless somebody with more to say says otherwise,
-- instead of those it had; {} takes them away. True if that changed something.
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

-- A task with the options that it does not say, as an INSERT would have them: from its handler, else its queue, else
-- pgsched.
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

-- For the schema: tells of a type that is not registered, and refuses a payload that its strict handler would refuse.
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

-- For the schema: does with a type that is not registered what the settings say: accepts it, raises a NOTICE (of
-- SQLSTATE PG001), or refuses it.
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

-- The registered type whose name is most like another; null when none is.
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

-- For the schema: refuses a payload that lacks a required key, has an unknown one, or one of another JSON type.
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

-- For the schema: refuses a payload that is edited to what its strict handler would refuse.
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

-- Booking the ticks of schedules --------------------------------------------------------------------------------------
-- The INSERT books the first tick, each finish the next one, and an edit rebooks.

-- For the schema: a schedule that is inserted, with its first tick.
create function pgsched.book_new(task pgsched.tasks, moment timestamptz) returns pgsched.tasks
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A schedule that is inserted at an instant. One that is restored keeps the tick that it had.
begin
  if current_setting('pgsched.restoring', true) = 'on' and task.scheduled_for is not null then
    task.next_run_at := coalesce(task.next_run_at, task.scheduled_for);
    task.planned_from := least(task.planned_from, task.scheduled_for);
    task.start_date := coalesce(task.start_date, case when task.repeat_interval is not null then task.scheduled_for end);
    return task;
  elsif task.scheduled_for is not null then
    perform pgsched.refuse_tick(task, 'scheduled_for', task.scheduled_for);
  elsif task.next_run_at is not null then
    perform pgsched.refuse_tick(task, 'next_run_at', task.next_run_at);
  end if;
  task.planned_from := moment;
  if task.schedule_type = 'repeating' then
    -- The origin of the grid: every tick is computed from it, so that a month's end or a clock change does not shift the
    -- ticks after it.
    task.start_date := coalesce(task.start_date, moment);
  end if;
  return pgsched.booked(task, moment);
end $$;

-- For the schema: books a schedule that waits without a tick.
create function pgsched.book_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What came from a version that let workers book: a schedule that was never planned, or was edited while it ran.
begin
  new := pgsched.booked(new, greatest(new.planned_from,
    case when old.scheduled_for is not null then clock_timestamp() end,
    case when old.status = 'running' then old.scheduled_for + interval '1 microsecond' end));
  return new;
end $$;

-- For the schema: a schedule with its first tick at or after an instant; completed when there is none.
create function pgsched.booked(task pgsched.tasks, moment timestamptz) returns pgsched.tasks
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The row with its first tick at or after an instant, or over.
declare
  tick timestamptz;
begin
  if task.repeat_count is null or task.execution_count < task.repeat_count then
    tick := pgsched.first_tick(task, moment);
  end if;
  task.attempts := 0;
  task.last_error := null;
  task.died_at := null;
  if tick is null then
    task.status := 'completed';
    task.next_run_at := null;
    task.completed_at := coalesce(task.completed_at, clock_timestamp());
  else
    task.status := 'pending';
    task.scheduled_for := tick;
    task.next_run_at := pgsched.due_at(task.id, tick, task.jitter);
    task.completed_at := null;
  end if;
  return task;
end $$;

-- For the schema: the first tick of a schedule at or after an instant, from its start to its end; null when there is
-- none.
create function pgsched.first_tick(task pgsched.tasks, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- For planning: the first tick of a row at or after an instant, within start_date and end_date and not among its early_ticks;
-- null when there is none. The zone is set as names of zones are read; `at time zone` would look for an abbreviation first.
declare
  zone text := case when task.timezone <> 'UTC' then set_config('timezone', task.timezone, true) end;
  rule pgsched.cron_rule;
  tick timestamptz;
begin
  if task.cron_expression is not null then
    rule := pgsched.read_cron(task.cron_expression);
    if rule.problem is not null then
      raise invalid_parameter_value using
        message = format('cron_expression %L: %s', left(task.cron_expression, 100), rule.problem),
        column = 'cron_expression', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
  loop
    if task.cron_expression is not null then
      tick := pgsched.cron_tick(rule, greatest(moment, task.start_date));
    elsif task.repeat_interval is not null then
      tick := pgsched.grid_tick(coalesce(task.start_date, task.scheduled_for, moment), task.repeat_interval, moment);
    end if;
    exit when task.early_ticks is null or tick is null or tick <> all(task.early_ticks);
    moment := tick + interval '1 microsecond';
  end loop;
  return case when tick < '9999-12-31 00:00:00+00' and (task.end_date is null or tick <= task.end_date) then tick end;
end $$;

-- For the schema: when a tick of a task is due: up to its jitter later.
create function pgsched.due_at(id bigint, tick timestamptz, jitter interval) returns timestamptz
language sql immutable
return case when (jitter > '00:00:00'::interval) then (tick + ((((((('x000' || "left"(encode(sha256(((((id)::text || ':') || (((extract(epoch from tick) * (1000000)::numeric))::bigint)::text))::bytea),
  'hex'),
  13)))::bit(64))::bigint)::double precision / (4503599627370496.0)::double precision) * (least(extract(epoch from jitter),
  (extract(epoch from '9999-12-31 00:00:00+00'::timestamptz) - extract(epoch from tick))))::double precision) * '00:00:01'::interval)) else tick end;

-- For workers: the next tick of a schedule that was edited while it ran; notes the ticks that came meanwhile.
create function pgsched.rebook(
  task pgsched.tasks, tick timestamptz, next_tick timestamptz, started timestamptz, counted boolean
) returns timestamptz
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The next tick of a schedule that was edited since its claim, as book() in pgsched/schedule.py; null: it is over. `tick` ran
-- from `started` until now, or (not counted) nothing was run, and `next_tick` is what the worker would have booked.
declare
  moment timestamptz := clock_timestamp();
  -- A group began when it fired, any other when it was claimed.
  began timestamptz := least(started, task.started_at);
  following timestamptz;
  first timestamptz;
  ticks integer := 0;
begin
  if task.execution_count + counted::integer >= task.repeat_count then
    return null;
  elsif not counted then
    return pgsched.first_tick(task, case when task.planned_from > task.started_at then task.planned_from
      else coalesce(next_tick, moment) end);
  end if;
  following := pgsched.first_tick(task, greatest(tick + interval '1 microsecond', task.planned_from));
  if task.overlap = 'allow' or pgsched.due_at(task.id, following, task.jitter) <= began then
    return following;
  end if;
  first := following;
  while ticks < 1000 and pgsched.due_at(task.id, following, task.jitter) <= moment loop
    ticks := ticks + 1;
    following := pgsched.first_tick(task, case when ticks < 1000 then following + interval '1 microsecond' else moment end);
  end loop;
  if ticks > 0 then
    insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
    values (task.id, task.task_type, task.queue, 'overlap', ticks, first, following);
  end if;
  return following;
end $$;

-- For the schema: an edited schedule is planned afresh: at once when it waits, after its run when it runs.
create function pgsched.replan_task() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- An edited schedule is planned at once when it waits, by its finish (pgsched.rebook) when it runs: that sees that the
-- revision has moved on. The clock is read while the row is locked, so no tick that was claimed comes after it.
declare
  present timestamptz := clock_timestamp();
  -- What was claimed came at the present moment or before.
  moment timestamptz := present + interval '1 microsecond';
  -- A tick whose retry was to come is over, too.
  until timestamptz := case when old.attempts > 0 then greatest(old.scheduled_for, present) else present end;
begin
  if current_setting('pgsched.restoring', true) = 'on' then
    return new;
  end if;
  if new.schedule_type = old.schedule_type then
    new.schedule_type := case
      when new.cron_expression is not null then 'recurring'
      when new.repeat_interval is not null then 'repeating'
      else 'one_time' end;
  end if;
  perform pgsched.check_schedule(new);
  new.revision := old.revision + 1;
  new.updated_at := present;
  if new.schedule_type = 'one_time' then
    return new;
  elsif new.status = 'cancelled' then
    raise object_not_in_prerequisite_state using
      message = format('task %s is cancelled: its schedule cannot be changed before it is retried', new.id);
  end if;
  if new.schedule_type = 'repeating' then
    new.start_date := coalesce(new.start_date, moment);
  end if;
  if (old.cron_expression, old.timezone, old.start_date, old.repeat_interval, old.planned_from)
    is distinct from (new.cron_expression, new.timezone, new.start_date, new.repeat_interval, new.planned_from)
    or old.end_date < present then
    -- Other ticks from now on, or ticks again after the end; those that the old ones still owe are over.
    new.planned_from := moment;
    if old.schedule_type <> 'one_time' and old.scheduled_for is not null then
      if old.status = 'pending' then
        perform pgsched.note_dropped(old, old.scheduled_for, until);
      elsif old.status in ('running', 'blocked') then
        perform pgsched.note_rest(old, present);
      end if;
    end if;
    if new.status in ('pending', 'completed', 'dead') then
      new := pgsched.booked(new, moment);
    end if;
  elsif new.status in ('completed', 'dead') then
    new := pgsched.booked(new, moment);  -- a later end, or more times
  elsif new.status = 'pending' then
    -- The ticks are the same, so the one that is booked stays, due or not.
    if old.scheduled_for > new.end_date or new.repeat_count <= new.execution_count then
      perform pgsched.note_dropped(old, old.scheduled_for, until);
      new := pgsched.booked(new, coalesce(new.end_date + interval '1 microsecond', moment));
    elsif new.jitter is distinct from old.jitter and old.attempts = 0 then
      -- A tick that came is not missed by a shorter jitter: it is due now. One that is due stays due.
      new.next_run_at := case when old.next_run_at <= present then old.next_run_at
        else greatest(pgsched.due_at(new.id, new.scheduled_for, new.jitter), present) end;
    end if;
  end if;
  if new.status = 'pending' and new.enabled then
    perform pgsched.wake_sleepers(new.queue, new.next_run_at);
  end if;
  return new;
end $$;

-- For the schema: tells who waits for a schedule that an edit has ended.
create function pgsched.settle_task() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.settle(array[new.id]);
  return null;
end $$;

-- For the schema: refuses an UPDATE that gives a schedule another tick.
create function pgsched.guard_tick() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A worker moves the tick of a group that it fires, to a later one that has passed.
begin
  if current_setting('pgsched.restoring', true) is distinct from 'on'
    and (old.status <> 'running' or new.scheduled_for < old.scheduled_for or new.scheduled_for > clock_timestamp()) then
    perform pgsched.refuse_tick(new, 'scheduled_for', new.scheduled_for);
  end if;
  return new;
end $$;

-- For the schema: books the next tick for a schedule whose booked one ran while the database's clock was ahead.
create function pgsched.pass_early_ticks() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What a worker books: it computes the next tick itself, and does not know which ones ran early.
declare
  tick timestamptz := new.scheduled_for;
begin
  if tick is distinct from old.scheduled_for and tick = any(new.early_ticks) then
    tick := pgsched.first_tick(new, tick);
    if tick is null then
      new.status := 'completed';
      new.next_run_at := null;
      new.completed_at := clock_timestamp();
    else
      new.scheduled_for := tick;
      new.next_run_at := pgsched.due_at(new.id, tick, new.jitter);
    end if;
  end if;
  -- Those before both the clock and the booked tick cannot come again.
  if new.early_ticks[1] <= least(new.scheduled_for, clock_timestamp()) then
    new.early_ticks := nullif(array(
      select e from unnest(new.early_ticks) e where e > least(new.scheduled_for, clock_timestamp()) order by e), '{}');
  end if;
  return new;
end $$;

-- For the schema: refuses a time that is given to a schedule by hand.
create function pgsched.refuse_tick(task pgsched.tasks, named text, value timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  raise invalid_parameter_value using
    message = format('%s is for one-time tasks; a %s one begins with start_date, got %s', named, task.schedule_type, value),
    column = named, table = 'tasks', schema = 'pgsched';
end $$;

-- For the schema: notes the ticks of a schedule that an edit took from it.
create function pgsched.note_dropped(
  task pgsched.tasks, since timestamptz, until timestamptz, started timestamptz default null
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Notes the ticks between two instants, both included, that an edit takes from a schedule; not those up to the last that was
-- due when a run `started`, which stands for them. Counted one by one, so no further than COUNT_LIMIT of pgsched/schedule.py.
declare
  first timestamptz;
  tick timestamptz;
  ticks integer := 0;
begin
  if pgsched.cron_problem(task.cron_expression) is not null then
    return;  -- taken by an older version, and never booked by this one
  end if;
  -- The tick that is booked may be of a schedule before: it waits for a retry since.
  tick := case when since = task.scheduled_for then since else pgsched.first_tick(task, since) end;
  while ticks < 1000 and tick <= until loop
    if pgsched.due_at(task.id, tick, task.jitter) <= started then
      ticks := 0;
    else
      ticks := ticks + 1;
      first := case when ticks = 1 then tick else first end;
    end if;
    tick := pgsched.first_tick(task, greatest(tick + interval '1 microsecond', task.planned_from));
  end loop;
  if ticks > 0 then
    insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick)
    values (task.id, task.task_type, task.queue, 'edit', ticks, first);
  end if;
end $$;

-- For the schema: notes the ticks that an edit takes from a schedule that runs.
create function pgsched.note_rest(task pgsched.tasks, until timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Notes the ticks after the one that runs at the moment, as an edit takes them from a schedule: which one it is, admit() in
-- pgsched/schedule.py has decided.
declare
  following timestamptz := greatest(task.scheduled_for + interval '1 microsecond', task.planned_from);
  started timestamptz := case when task.status = 'running' then task.started_at end;
  oldest timestamptz := started - make_interval(secs => extract(epoch from task.catchup_window)::double precision);
  slack interval := make_interval(secs => coalesce(extract(epoch from task.jitter), 0)::double precision);
  tick timestamptz;
begin
  if task.status = 'blocked' or task.locked_until < until or task.planned_from > started
    -- A tick that is given up, or retried; an attempt after one that was lost is measured like the first.
    or task.attempts > task.max_attempts and task.overlap = 'skip'
    or task.attempts > 1 and not exists (
      -- Tokens grow by any step, and attempts that do not count are none.
      select from (
        select e.status from pgsched.executions e
        where e.task_id = task.id and e.fencing_token < task.fencing_token and e.attempt > 0
        order by e.fencing_token desc limit 1) before
      where before.status = 'lost') then
    started := null;
  elsif task.on_missed = 'all' then
    if pgsched.due_at(task.id, task.scheduled_for, task.jitter) < oldest then
      -- The first one after the last that was too old: what was before is noted by the run.
      following := greatest(following, oldest - slack);
      tick := pgsched.first_tick(task, following);
      while tick < oldest loop
        following := case when pgsched.due_at(task.id, tick, task.jitter) < oldest then tick + interval '1 microsecond' else following end;
        tick := pgsched.first_tick(task, tick + interval '1 microsecond');
      end loop;
      tick := pgsched.first_tick(task, following);
      if tick is null then
        return;
      end if;
      following := case when pgsched.due_at(task.id, tick, task.jitter) <= started then tick + interval '1 microsecond' else tick end;
    end if;
    started := null;
  else
    following := greatest(following, started - slack);
  end if;
  perform pgsched.note_dropped(task, following, until, started);
end $$;

-- For the schema: lets a schedule that waits pass over its ticks up to an instant.
create function pgsched.pass_over(task pgsched.tasks, until timestamptz, reason text) returns timestamptz
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Books the first tick after an instant for a schedule that waits, and notes those before, counted as note_dropped() does.
declare
  ticks integer := 0;
  tick timestamptz := task.scheduled_for;
  later pgsched.tasks := pgsched.booked(task, until + interval '1 microsecond');
  next_tick timestamptz := case when later.status = 'pending' then later.scheduled_for end;
  -- The triggers that watch over edits let it pass. Not a setting of the function: an owner who is no superuser may not make that.
  restoring text := coalesce(current_setting('pgsched.restoring', true), '');
begin
  while ticks < 1000 and tick <= until loop
    ticks := ticks + 1;
    tick := pgsched.first_tick(task, tick + interval '1 microsecond');
  end loop;
  insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
  values (task.id, task.task_type, task.queue, reason, ticks, task.scheduled_for, next_tick);
  perform set_config('pgsched.restoring', 'on', true);
  update pgsched.tasks t
  set status = later.status, scheduled_for = later.scheduled_for, next_run_at = later.next_run_at, attempts = 0,
    last_error = null, completed_at = later.completed_at, revision = t.revision + 1, updated_at = clock_timestamp()
  where t.id = task.id;
  perform set_config('pgsched.restoring', restoring, true);
  if task.observed and next_tick is null then
    perform pgsched.settle(array[task.id]);
  end if;
  return next_tick;
end $$;

-- For the schema: what code may declare of a schedule, as one value.
create function pgsched.declaration(task pgsched.tasks) returns jsonb
language sql immutable as $$
-- What code may declare of a schedule, as one value: equal when nothing that was declared has changed.
select jsonb_build_object(
  'task_type', task.task_type, 'task_name', task.task_name, 'queue', task.queue, 'priority', task.priority,
  'payload', task.payload, 'metadata', task.metadata, 'tags', to_jsonb(task.tags), 'tenant_id', task.tenant_id,
  'user_id', task.user_id, 'cron_expression', task.cron_expression, 'timezone', task.timezone,
  'start_date', extract(epoch from task.start_date), 'end_date', extract(epoch from task.end_date),
  'repeat_interval', pgsched.interval_parts(task.repeat_interval), 'repeat_count', task.repeat_count,
  'on_missed', task.on_missed, 'catchup_window', pgsched.interval_parts(task.catchup_window),
  'overlap', task.overlap, 'jitter', pgsched.interval_parts(task.jitter), 'max_attempts', task.max_attempts,
  'backoff', task.backoff, 'backoff_delay', pgsched.interval_parts(task.backoff_delay),
  'backoff_max', pgsched.interval_parts(task.backoff_max), 'timeout', pgsched.interval_parts(task.timeout)) || jsonb_strip_nulls(jsonb_build_object('backoff_factor', task.backoff_factor, 'backoff_jitter', task.backoff_jitter))
$$;

-- Cron expressions ----------------------------------------------------------------------------------------------------
-- Fields become bit sets; a search jumps from field to field on the wall clock.

-- For the schema: a cron expression as sets of bits, or the rule that it breaks.
create function pgsched.read_cron(expression text) returns pgsched.cron_rule
language plpgsql stable strict
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Word by word as pgsched/cron_fields.py and pgsched/cron_options.py, with the same messages.
declare
  labels constant text[] := array['second', 'minute', 'hour', 'day of month', 'month', 'day of week'];
  lows constant integer[] := array[0, 0, 0, 1, 1, 0];
  highs constant integer[] := array[59, 59, 23, 31, 12, 7];
  -- The highest value: Sunday is 7 as a word only.
  tops constant integer[] := array[59, 59, 23, 31, 12, 6];
  rule pgsched.cron_rule;
  -- Only ASCII spaces part fields.
  fields text[] := array_remove(
    string_to_array(translate(lower(expression collate "C"), e'\t\n\r\f\x0b', '     '), ' '), '');
  bits bigint;
  sets bigint[];
  from_end bigint := 0;
  near bigint := 0;
  near_end bigint := 0;
  nth bigint := 0;
  stepping boolean := false;
  seconds_step boolean;
  days text;
  skipped text;
  repeated text;
  instead text;
  weeks text;
  "except" text[];
  names text[];
  item text;
  span text;
  step text;
  word text;
  place integer;
  start integer;
  stop integer;
  stride integer;
begin
  if length(expression) > 1000 then
    rule.problem := 'must have at most 1000 characters, got ' || length(expression);
    return rule;
  end if;
  start := cardinality(fields);
  while fields[start] like '%=%' loop
    start := start - 1;
  end loop;
  foreach item in array fields[start + 1 :] loop
    place := strpos(item, '=');
    step := left(item, place - 1);
    word := substr(item, place + 1);
    if step not in ('days', 'skipped', 'repeated', 'weeks', 'except', 'instead') then
      rule.problem := 'an option must be one of days= skipped= repeated= weeks= except= instead=, got ' || pgsched.shown_word(item);
    elsif step = any(names) then
      rule.problem := format('option %s must come once', step);
    elsif step = 'days' and word not in ('both', 'either') then
      rule.problem := 'option days must be both or either, got ' || pgsched.shown_word(word);
    elsif step = 'skipped' and word not in ('run', 'skip') then
      rule.problem := 'option skipped must be run or skip, got ' || pgsched.shown_word(word);
    elsif step = 'repeated' and word not in ('first', 'second', 'both') then
      rule.problem := 'option repeated must be first or second or both, got ' || pgsched.shown_word(word);
    elsif step = 'instead' and word not in ('skip', 'workday') then
      rule.problem := 'option instead must be skip or workday, got ' || pgsched.shown_word(word);
    end if;
    if rule.problem is not null then
      return rule;
    end if;
    days := case when step = 'days' then word else days end;
    skipped := case when step = 'skipped' then word else skipped end;
    repeated := case when step = 'repeated' then word else repeated end;
    weeks := case when step = 'weeks' then word else weeks end;
    "except" := case when step = 'except' then coalesce(nullif(string_to_array(word, ','), '{}'), array['']) else "except" end;
    instead := case when step = 'instead' then word else instead end;
    names := names || step;
  end loop;
  fields := fields[: start];
  if instead is not null and "except" is null then
    rule.problem := 'option instead must come with except';
    return rule;
  end if;
  if weeks is not null then
    if weeks ~ '^[0-9]{1,2}@' then
      rule.weeks := split_part(weeks, '@', 1);
      rule.week_of := pgsched.read_day(substr(weeks, strpos(weeks, '@') + 1));
    end if;
    if rule.week_of is null or rule.weeks not between 2 and 52 then
      rule.problem := 'option weeks must be 2 to 52 and a day of a week that counts, as 2@2030-01-07, got '
        || pgsched.shown_word(weeks);
      return rule;
    end if;
  end if;
  if "except" is not null then
    foreach word in array "except" loop
      if word ~ '^@[a-z][a-z0-9_-]{0,62}$' then
        select c.days into names from pgsched.calendars c where c.name = substr(word, 2);
        if not found then
          rule.problem := format('option except names a calendar that is not in pgsched.calendars, got "%s"', word);
          return rule;
        end if;
        "except" := "except" || names;
      elsif pgsched.read_day(case when length(word) = 5 then '2000-' || word else word end) is null then
        rule.problem := 'option except must be days or calendars, as 12-25,2030-04-19,@holidays, got ' || pgsched.shown_word(word);
        return rule;
      end if;
    end loop;
  end if;
  if fields[1] like '@%' then
    word := case array_to_string(fields, ' ')
      when '@hourly' then '0 * * * *' when '@daily' then '0 0 * * *' when '@midnight' then '0 0 * * *'
      when '@weekly' then '0 0 * * 0' when '@monthly' then '0 0 1 * *'
      when '@yearly' then '0 0 1 1 *' when '@annually' then '0 0 1 1 *' end;
    if word is null then
      rule.problem := 'an alias must be one of @hourly @daily @midnight @weekly @monthly @yearly @annually';
      return rule;
    end if;
    fields := string_to_array(word, ' ');
  end if;
  if cardinality(fields) = 5 then
    fields := array['0'] || fields;
  elsif cardinality(fields) <> 6 then
    rule.problem := 'must have 5 fields (minute hour day month weekday) or 6 with seconds first, got '
      || cardinality(fields);
    return rule;
  end if;
  for i in 1..6 loop
    if i = 2 then
      seconds_step := stepping;
    end if;
    if fields[i] = '?' and i in (4, 6) then
      fields[i] := '*';
    end if;
    if fields[i] = '*' then
      sets[i] := (2::bigint << tops[i]) - (1 << lows[i]);
      stepping := stepping or i <= 3;
      continue;
    end if;
    names := case i
      when 5 then array['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
      when 6 then array['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] end;
    bits := 0;
    foreach item in array string_to_array(fields[i], ',') loop
      if i = 4 and item ~ '[lw]' then
        -- l, l-3, 15w, lw, l-3w
        word := regexp_replace(item, 'w$', '');
        if word not like 'l%' then
          start := pgsched.cron_number(word, 1, 31, names);
          if start is null then
            rule.problem := pgsched.number_problem(labels[i], word, 1, 31, names);
            return rule;
          end if;
          near := near | (1::bigint << start);
        else
          start := case
            when word = 'l' then 0
            else pgsched.cron_number(regexp_replace(word, '^l-', ''), 1, 30, names) end;
          if start is null then
            rule.problem := labels[i] || ' after L must be -1 to -30, got ' || pgsched.shown_word(substr(word, 2));
            return rule;
          elsif word = item then
            from_end := from_end | (1::bigint << (31 - start));
          else
            near_end := near_end | (1::bigint << (31 - start));
          end if;
        end if;
        continue;
      end if;
      if i = 6 and item ~ '[#l]' then
        -- mon#2, and the last one: 5l, l5, fril
        place := strpos(item, '#');
        word := case
          when place > 0 then left(item, place - 1)
          when item like '%l' then left(item, -1)
          else regexp_replace(item, '^l', '') end;
        stride := case
          when place = 0 then 0
          when substr(item, place + 1) ~ '^[1-5]$' then substr(item, place + 1)::integer end;
        start := pgsched.cron_number(word, 0, 7, names);
        if stride is null then
          rule.problem := labels[i] || ' after # must be between 1 and 5, got '
            || pgsched.shown_word(substr(item, place + 1));
        elsif place = 0 and word = '' then
          rule.problem := labels[i] || ' L must come with a weekday, as in 5L';
        elsif start is null then
          rule.problem := pgsched.number_problem(labels[i], word, 0, 7, names);
        end if;
        if rule.problem is not null then
          return rule;
        end if;
        nth := nth | (1::bigint << (7 * stride + start % 7));
        continue;
      end if;
      place := strpos(item, '/');
      span := case when place > 0 then left(item, place - 1) else item end;
      step := case when place > 0 then substr(item, place + 1) end;
      place := strpos(span, '-');
      if span = '*' then
        start := lows[i];
        stop := tops[i];
      else
        word := case when place > 0 then left(span, place - 1) else span end;
        start := pgsched.cron_number(word, lows[i], highs[i], names);
        if start is not null and place > 0 then
          word := substr(span, place + 1);
          -- A range may end on Sunday: fri-sun.
          stop := case when i = 6 and word in ('sun', '0') and start > 0 then 7
            else pgsched.cron_number(word, lows[i], highs[i], names) end;
        else
          stop := case when step is null then start else tops[i] end;
        end if;
        if start is null or stop is null then
          rule.problem := pgsched.number_problem(labels[i], word, lows[i], highs[i], names);
          return rule;
        elsif stop < start then
          rule.problem := format('%s range must not run backwards, got %s', labels[i], span);
          return rule;
        end if;
      end if;
      stride := case when step is null then 1 else pgsched.cron_number(step, 1, highs[i], null) end;
      if stride is null then
        rule.problem := format(
          '%s step must be between 1 and %s, got %s', labels[i], highs[i], pgsched.shown_word(step));
        return rule;
      end if;
      stepping := stepping or i <= 3 and (span = '*' or step is not null and place = 0);
      for value in start..stop by stride loop
        bits := bits | (1::bigint << case when i = 6 then value % 7 else value end);
      end loop;
    end loop;
    sets[i] := bits;
  end loop;
  if seconds_step and fields[6] ~ '[0-9/]' then
    rule.problem := 'may mean seconds first or last; they come first: name the weekday if that is meant, as in "sun", got "'
      || fields[6] || '"';
    return rule;
  end if;
  rule := (null, sets[1], sets[2], sets[3], sets[4], sets[5], sets[6], from_end, near, near_end, nth,
    coalesce(days = 'both', fields[4] like '*%' or fields[6] like '*%'),
    not stepping, coalesce(skipped = 'run', not stepping), coalesce(repeated, case when stepping then 'both' else 'first' end),
    rule.weeks, rule.week_of, "except", coalesce(instead = 'workday', false));
  -- It can fire when some month has a day that matches; the first that is looked at nearly always has.
  for look in 1..2 loop
    for length in reverse 31..28 loop
      continue when rule.month & case length when 31 then 5546 when 30 then 2640 else 4 end = 0;
      for opening in 0..6 loop
        if pgsched.month_days(rule, opening, length) <> 0 then
          if look = 2 then
            rule.problem := format(
              'can never fire: no such month has a day that is both %s and %s', fields[4], fields[6]);
          elsif (weeks is not null or "except" is not null)
            and pgsched.wall_from(rule, '2000-01-01 00:00:00') is null then
            rule.problem := 'can never fire: its options leave no day';
          end if;
          return rule;
        end if;
      end loop;
    end loop;
    -- By the day alone.
    rule.weekday := 127;
    rule."both" := true;
  end loop;
  rule.problem := 'can never fire: no such month has a day ' || fields[4];
  return rule;
end $$;

-- The rule that a cron expression breaks, or null when it can be read.
-- expression: Five fields, or six with seconds first, or @daily and the like.
create function pgsched.cron_problem(expression text) returns text
language sql stable strict
return (pgsched.read_cron(expression)).problem;

-- For the schema: the number that a word of a cron field stands for; null when it stands for none.
create function pgsched.cron_number(word text, low integer, high integer, names text[]) returns integer
language sql immutable
return case when (word = any (names)) then ((array_position(names, word) - 1) + low) when ((word ~ '^0*[0-9]{1,9}$')
  and (((word)::integer >= low) and ((word)::integer <= high))) then (word)::integer else null::integer end;

-- For the schema: a word of a cron expression as a message shows it.
create function pgsched.shown_word(word text) returns text
language sql immutable
return case when (word ~ '^[0-9]+$') then word when (word = '') then 'nothing' else (('"' || word) || '"') end;

-- For the schema: why a word of a cron field stands for no number.
create function pgsched.number_problem(label text, word text, low integer, high integer, names text[]) returns text
language sql immutable
return case when (word ~ '^[0-9]+$') then format('%s must be between %s and %s, got %s', label, low, high,
  word) else format('%s must be a number between %s and %s%s, got %s', label, low, high,
  ((' or a name (' || (names)[1]) || ')'), pgsched.shown_word(word)) end;

-- For workers: the days of the calendars that a cron expression names; null when there are none.
create function pgsched.calendar_days(expression text) returns text[]
language sql stable strict
set search_path = pg_catalog, pg_temp as $$
-- The names are looked for as they may stand: after except= or a comma.
select array_agg(day)
from regexp_matches(lower(expression collate "C"), '[=,]@([a-z][a-z0-9_-]*)', 'g') as found(names)
join pgsched.calendars c on c.name = found.names[1]
cross join unnest(c.days) as day
$$;

-- For the schema: plans the schedules of a calendar afresh when its days change.
create function pgsched.follow_calendar() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A schedule that leaves the days of a calendar out is planned afresh when they change, and keeps the calendar.
declare
  pattern text := '[=,]@' || old.name || '([,[:space:]]|$)';
  task_id bigint;
begin
  if tg_op = 'DELETE' or new.name <> old.name then
    select t.id into task_id from pgsched.tasks t
    where t.cron_expression is not null and lower(t.cron_expression collate "C") ~ pattern limit 1;
    if found then
      raise object_in_use using message = format('calendar %s is named by the cron expression of task %s', old.name, task_id);
    end if;
  elsif new.days <> old.days then
    update pgsched.tasks t set planned_from = clock_timestamp()
    where t.cron_expression is not null and lower(t.cron_expression collate "C") ~ pattern
      and t.status in ('pending', 'running', 'blocked');
  end if;
  return new;
end $$;

-- The next ticks of a cron expression, strictly after an instant: what pgsched task next shows, for every language.
-- expression: Five fields, or six with seconds first, or @daily and the like, and options.
-- timezone: The IANA zone in which it is read.
-- from_time: The ticks are those after it; now if left out.
-- count: How many, 1 to 10000; fewer when there are no more before the year 9999 ends.
create function pgsched.next_ticks(
  expression text, timezone text default 'UTC', from_time timestamptz default now(), count integer default 5
) returns setof timestamptz
language plpgsql stable strict
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  rule pgsched.cron_rule := pgsched.read_cron(expression);
  tick timestamptz := greatest(from_time, '0001-01-02 00:00:00+00');
begin
  perform pgsched.check_timezone(next_ticks.timezone);
  if rule.problem is not null then
    raise invalid_parameter_value using message = format('cron expression %L: %s', left(expression, 100), rule.problem);
  elsif next_ticks.count not between 1 and 10000 then
    raise invalid_parameter_value using message = format('count must be between 1 and 10000, got %s', next_ticks.count);
  end if;
  perform set_config('timezone', next_ticks.timezone, true);
  for i in 1..next_ticks.count loop
    exit when tick >= '9999-12-30 23:59:59+00';
    tick := pgsched.cron_tick(rule, tick + interval '1 microsecond');
    exit when tick is null or tick >= '9999-12-31 00:00:00+00';
    return next tick;
  end loop;
end $$;

-- For the schema: the first tick of a cron expression at or after an instant, in the session's zone.
create function pgsched.cron_tick(rule pgsched.cron_rule, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The first tick at or after an instant in the session's zone, as _first_from in pgsched/cron.py.
declare
  start timestamptz := date_trunc('second', moment - interval '1 microsecond') + interval '1 second';
  -- Right at the end of a gap the second before still sees what fell in the gap.
  wall timestamp := least(start::timestamp, (start - interval '1 second')::timestamp + interval '1 second');
  match timestamp;
  early timestamptz;
  late timestamptz := wall::timestamptz;
begin
  if rule.repeated <> 'first' and start < late and start::timestamp = wall then
    -- start is in the first pass of a fold: in the second one its times come again, also those before start.
    late := pgsched.clock_change(start, late);
    if rule.repeated = 'both' then
      match := pgsched.wall_from(rule, wall);
      early := pgsched.early_reading(match, match::timestamptz);
      if early < late then
        return early;
      end if;
    end if;
    start := late;
    wall := start::timestamp;
  end if;
  loop
    match := pgsched.wall_from(rule, wall);
    if match is null then
      return null;
    end if;
    late := match::timestamptz;
    early := pgsched.early_reading(match, late);
    if late::timestamp <> match then
      -- Debian's cron takes a jump of more than three hours for a correction and does not run what was jumped over.
      if rule.runs_skipped and late - early <= interval '3 hours' then
        return pgsched.clock_change(early, late);
      end if;
      wall := pgsched.clock_change(early, late)::timestamp;
    elsif early >= start and rule.repeated <> 'second' then
      return early;
    elsif early = late or rule.repeated <> 'first' then
      return late;
    else
      -- start is in the second pass, the first one ran: go on where the fold ends.
      wall := (pgsched.clock_change(early, late) - interval '1 second')::timestamp + interval '1 second';
    end if;
  end loop;
end $$;

-- For the schema: the first wall-clock time at or after another that a cron expression names.
create function pgsched.wall_from(rule pgsched.cron_rule, wall timestamp) returns timestamp
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The first match at or after a wall-clock time of whole seconds; null when there is none within 400 years, REACH of
-- pgsched/cron.py, or before the year 9999 ends.
declare
  year integer := date_part('year', wall);
  last_year integer := least(year + 400, 9999);
  month integer := date_part('month', wall);
  least integer := date_part('day', wall);
  hour integer := date_part('hour', wall);
  minute integer := date_part('minute', wall);
  second integer := date_part('second', wall);
  bits bigint := 0;
  -- Any month may have a tick where ticks are moved.
  months bigint := case when rule.moves then 8190 else rule.month end;
  starts date;
begin
  -- The time of day that is left today, if there is one.
  if rule.hour >> hour & 1 = 1 then
    if rule.minute >> minute & 1 = 1 then
      bits := rule.second >> second << second;
      second := pgsched.lowest_bit(nullif(bits, 0));
    end if;
    if bits = 0 then
      bits := rule.minute >> (minute + 1) << (minute + 1);
      minute := pgsched.lowest_bit(nullif(bits, 0));
      second := pgsched.lowest_bit(rule.second);
    end if;
  end if;
  if bits = 0 then
    bits := rule.hour >> (hour + 1) << (hour + 1);
    hour := pgsched.lowest_bit(nullif(bits, 0));
    minute := pgsched.lowest_bit(rule.minute);
    second := pgsched.lowest_bit(rule.second);
  end if;
  if bits = 0 then
    least := least + 1;
    hour := pgsched.lowest_bit(rule.hour);
  end if;
  loop
    bits := months >> month << month;
    if bits = 0 then
      year := year + 1;
      bits := months;
      month := 0;
    end if;
    if month <> pgsched.lowest_bit(bits) then
      month := pgsched.lowest_bit(bits);
      least := 0;
    end if;
    exit when year > last_year;
    starts := make_date(year, month, 1);
    bits := case when rule."except" is null then pgsched.matching_days(rule, starts)
      else pgsched.open_days(rule, starts) end;
    bits := bits >> least << least;
    if bits <> 0 then
      least := pgsched.lowest_bit(bits);
      if starts + least - 1 <> wall::date then
        hour := pgsched.lowest_bit(rule.hour);
        minute := pgsched.lowest_bit(rule.minute);
        second := pgsched.lowest_bit(rule.second);
      end if;
      return make_timestamp(year, month, least, hour, minute, second);
    end if;
    month := month + 1;
    least := 0;
  end loop;
  return null;
end $$;

-- For the schema: the days of one month that a cron expression names, as a set of bits.
create function pgsched.matching_days(rule pgsched.cron_rule, starts date) returns bigint
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The days of the month that begins with a day that match, in weeks that count.
declare
  length integer := pgsched.month_length(date_part('year', starts)::integer, date_part('month', starts)::integer);
  bits bigint := pgsched.month_days(rule, date_part('dow', starts)::integer, length);
begin
  if (rule.month >> date_part('month', starts)::integer) & 1 = 0 then
    return 0;
  elsif rule.weeks is not null then
    for day in 1..length loop
      -- Weeks begin on Monday, as the first day of the calendar does.
      if ((starts + day - 1 - date '0001-01-01') / 7 - (rule.week_of - date '0001-01-01') / 7) % rule.weeks <> 0 then
        bits := bits & ~(1::bigint << day);
      end if;
    end loop;
  end if;
  return bits;
end $$;

-- For the schema: the days of one month on which a cron expression ticks that leaves days out, as a set of bits.
create function pgsched.open_days(rule pgsched.cron_rule, starts date) returns bigint
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The same without the days that are left out, and with those on which their ticks run instead, LONGEST_MOVE of
-- pgsched/cron_options.py at most after them.
declare
  bits bigint := 0;
  opening date := date_trunc('month', greatest(case when rule.moves then starts - 31 else starts end, '0001-01-01')::timestamp);
  ends date := starts + interval '1 month';
  matching bigint;
  day date;
begin
  while opening <= starts loop
    matching := pgsched.matching_days(rule, opening);
    while matching <> 0 loop
      day := opening + pgsched.lowest_bit(matching) - 1;
      matching := matching & (matching - 1);
      if pgsched.is_excepted(rule, day) then
        continue when not rule.moves;
        day := (
          select day + later from generate_series(1, 31) as later
          where date_part('isodow', day + later) < 6 and not pgsched.is_excepted(rule, day + later)
          order by later limit 1);
      end if;
      if day >= starts and day < ends then
        bits := bits | (1::bigint << (day - starts + 1));
      end if;
    end loop;
    opening := opening + interval '1 month';
  end loop;
  return bits;
end $$;

-- For the schema: the days of a month that a cron expression names, as a set of bits.
create function pgsched.month_days(rule pgsched.cron_rule, first integer, length integer) returns bigint
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- All operators of bits bind alike, from left to right: hence the parentheses.
-- The days of a month that match, bit n for day n. A month is known by the weekday of its first day and its length.
declare
  -- Times this, seven bits become five weeks.
  weeks constant bigint := 1 + (1 << 7) + (1 << 14) + (1 << 21) + (1 << 28);
  every_day bigint := (2::bigint << length) - 2;
  last_day bigint := 1::bigint << length;
  by_day bigint := rule.day | (rule.from_end >> (31 - length));
  by_weekday bigint := (((rule.weekday >> first) | (rule.weekday << (7 - first))) & 127) * weeks << 1;
  near bigint := (rule.near | (rule.near_end >> (31 - length))) & every_day;
  bits bigint;
  saturdays bigint;
  sundays bigint;
begin
  if rule.nth <> 0 then
    for n in 0..5 loop
      bits := rule.nth >> (7 * n) & 127;
      continue when bits = 0;
      bits := ((bits >> first) | (bits << (7 - first))) & 127;
      by_weekday := by_weekday | case n
        when 0 then (bits * weeks << 1) & ~((2::bigint << (length - 7)) - 1)
        else bits << (7 * n - 6) end;
    end loop;
  end if;
  if near <> 0 then
    saturdays := (1 << (6 - first)) * weeks << 1;
    sundays := (1 << ((7 - first) % 7)) * weeks << 1;
    by_day := by_day | (near & ~(saturdays | sundays))
      | ((near & saturdays & ~2::bigint) >> 1) | ((near & saturdays & 2) << 2)
      | ((near & sundays & ~last_day) << 1) | ((near & sundays & last_day) >> 2);
  end if;
  return every_day & case when rule."both" then by_day & by_weekday else by_day | by_weekday end;
end $$;

-- For the schema: how many days a month has.
create function pgsched.month_length(year integer, month integer) returns integer
language sql immutable strict
return case when (month <> 2) then (30 + ((month + (month / 8)) % 2)) when (((year % 4) = 0) and (((year % 100) <> 0)
  or ((year % 400) = 0))) then 29 else 28 end;

-- For the schema: whether a cron expression leaves a day out.
create function pgsched.is_excepted(rule pgsched.cron_rule, day date) returns boolean
language sql immutable
return ((to_char((day)::timestamp, 'MM-DD') = any ((rule)."except"))
  or (to_char((day)::timestamp, 'YYYY-MM-DD') = any ((rule)."except")));

-- For the schema: the number of the lowest bit that is set.
create function pgsched.lowest_bit(bits bigint) returns integer
language sql immutable strict
return (round((ln(((bits & (- bits)))::double precision) / (0.69314718055994531)::double precision)))::integer;

-- Intervals and time zones --------------------------------------------------------------------------------------------
-- Ticks at an interval, clock changes, and new rules of time zones.

-- The next ticks of an interval: the points of a grid that begins at start_date.
-- repeat_interval: From tick to tick; months and days keep the wall clock, hours and less are elapsed time.
-- timezone: The IANA zone of that wall clock.
-- start_date: Where the grid begins; now if left out.
-- from_time: The ticks are those after it; if left out, those from start_date on.
-- count: How many, 1 to 10000; fewer when there are no more before the year 9999 ends.
create function pgsched.next_interval_ticks(
  repeat_interval interval, timezone text default 'UTC', start_date timestamptz default now(),
  from_time timestamptz default null, count integer default 5
) returns setof timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
declare
  tick timestamptz := greatest(from_time + interval '1 microsecond', start_date);
begin
  perform pgsched.check_timezone(next_interval_ticks.timezone);
  if next_interval_ticks.count not between 1 and 10000 then
    raise invalid_parameter_value using
      message = format('count must be between 1 and 10000, got %s', next_interval_ticks.count);
  end if;
  perform next_interval_ticks.repeat_interval::pgsched.repeat_interval, next_interval_ticks.start_date::pgsched.start_date,
    set_config('timezone', next_interval_ticks.timezone, true);
  for i in 1..next_interval_ticks.count loop
    exit when tick >= '9999-12-31 00:00:00+00';
    tick := pgsched.grid_tick(start_date, repeat_interval, tick);
    exit when tick >= '9999-12-31 00:00:00+00';
    return next tick;
    tick := tick + interval '1 microsecond';
  end loop;
end $$;

-- For the schema: the first instant of a grid of intervals at or after another, in the session's zone.
create function pgsched.grid_tick(origin timestamptz, step interval, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The first point at or after an instant, as Grid.index_from in pgsched/grid.py.
declare
  day constant bigint := 86400000000;
  passed bigint := extract(epoch from moment - origin) * 1000000;
  months bigint := date_part('year', step) * 12 + date_part('month', step);
  days bigint := date_part('day', step);
  elapsed bigint := pgsched.elapsed_part(step);
  low bigint;
  high bigint;
  middle bigint;
begin
  if passed <= 0 then
    return origin;
  end if;
  -- The offsets of a zone differ by a day at most.
  low := greatest(0, (passed - 2 * day) / ((31 * months + days) * day + elapsed));
  high := (passed + 2 * day) / ((28 * months + days) * day + elapsed) + 1;
  if months = 0 and days = 0 then
    low := (passed + elapsed - 1) / elapsed;
    high := low;
  end if;
  while low < high loop
    middle := (low + high) / 2;
    if pgsched.grid_point(origin, step, middle) >= moment then
      high := middle;
    else
      low := middle + 1;
    end if;
  end loop;
  return pgsched.grid_point(origin, step, low);
end $$;

-- For the schema: an instant and so many intervals after it, in the session's zone.
create function pgsched.grid_point(origin timestamptz, step interval, index bigint) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- origin + index * step: first the months, clamped to the last day of a month, then the days, both on the wall clock of the
-- session's zone, then elapsed time. What falls in a gap is its end, what falls in a fold the first pass.
declare
  months bigint := index * (date_part('year', step) * 12 + date_part('month', step))::integer;
  days bigint := index * date_part('day', step)::integer;
  -- Whole microseconds: a float does not hold them beyond 285 years.
  elapsed bigint := index * pgsched.elapsed_part(step);
  wall timestamp;
  late timestamptz := origin;
begin
  if months <> 0 or days <> 0 then
    wall := origin::timestamp + make_interval(months => months::integer, days => days::integer);
    late := wall::timestamptz;
    origin := pgsched.early_reading(wall, late);
    if late::timestamp <> wall then
      origin := pgsched.clock_change(origin, late);
    end if;
  end if;
  return origin
    + make_interval(hours => (elapsed / 3600000000)::integer, secs => elapsed % 3600000000 / 1e6::double precision);
end $$;

-- For the schema: the microseconds of an interval beside its months and days.
create function pgsched.elapsed_part(step interval) returns bigint
language sql immutable strict
return ((((extract(hour from step) * ('3600000000'::bigint)::numeric) + (extract(minute from step) * (60000000)::numeric)) + extract(microsecond from step)))::bigint;

-- For the schema: months, days and seconds of an interval.
create function pgsched.interval_parts(value interval) returns jsonb
language sql immutable strict as $$
-- Months, days and seconds: the same whatever the session's intervalstyle.
select jsonb_build_array(
  extract(year from value) * 12 + extract(month from value), extract(day from value),
  extract(hour from value) * 3600 + extract(minute from value) * 60 + extract(second from value))
$$;

-- For the schema: the earlier instant that a wall-clock time of the session's zone may mean.
create function pgsched.early_reading(wall timestamp, late timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The earlier of the two instants that a wall-clock time may be read as in the session's zone; `late`, the other one, is
-- how PostgreSQL reads it. They are the same for a plain time, both real in a fold and neither in a gap.
declare
  shift interval := late::timestamp - wall;
  early timestamptz;
begin
  if shift = interval '0' then
    shift := (late - interval '24 hours')::timestamp + interval '24 hours' - wall;
    if shift <= interval '0' then
      return late;
    end if;
  end if;
  early := late - make_interval(secs => date_part('epoch', shift));
  return case when late::timestamp <> wall or early::timestamp = wall then early else late end;
end $$;

-- For the schema: when the clocks of the session's zone change between two instants.
create function pgsched.clock_change(before timestamptz, until timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The instant in (before, until] at which the session's zone changes its offset: there must be one.
declare
  base timestamptz := date_trunc('second', before);
  shift interval := base::timestamp - timezone(interval '0', base);
  low integer := 0;
  high integer := ceil(date_part('epoch', until) - date_part('epoch', base));
  middle integer;
  instant timestamptz;
begin
  while high - low > 1 loop
    middle := (low + high) / 2;
    instant := base + middle * interval '1 second';
    if instant::timestamp - timezone(interval '0', instant) = shift then
      low := middle;
    else
      high := middle;
    end if;
  end loop;
  return base + high * interval '1 second';
end $$;

-- For workers: the rules of a time zone for the years to come, as the database knows them.
create function pgsched.read_zone(zone text) returns pgsched.zone_rules
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- The rules of this and the next four years as this session knows them; null of a zone that the database does not know.
declare
  day constant interval := '24 hours';
  rules pgsched.zone_rules;
  at timestamptz := date_trunc('year', now());
  shift integer;
begin
  rules := (zone, at, at + interval '5 years', '{}', '{}', now());
  begin
    perform set_config('timezone', zone, true);
  exception when invalid_parameter_value then
    return null;
  end;
  while at < rules.until loop
    shift := extract(epoch from at::timestamp - timezone(interval '0', at));
    if shift is distinct from rules.offsets[cardinality(rules.offsets)] then
      if cardinality(rules.offsets) > 0 then
        rules.changes := rules.changes || pgsched.clock_change(at - day, at);
      end if;
      rules.offsets := rules.offsets || shift;
    end if;
    at := at + day;
  end loop;
  return rules;
end $$;

-- For the schema: how far a zone is ahead of UTC at a time; null beyond the years that are known.
create function pgsched.offset_at(rules pgsched.zone_rules, at timestamptz) returns interval
language sql immutable
set search_path = pg_catalog, pg_temp as $$
select make_interval(secs => (rules).offsets[1 + (select count(*) from unnest((rules).changes) c where c <= at)]::integer)
where at >= (rules).since and at < (rules).until
$$;

-- For the schema: the tick of a schedule by the new rules of its zone.
create function pgsched.move_tick(task pgsched.tasks, rules pgsched.zone_rules) returns timestamptz
language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- The tick of a schedule that was booked by other rules of its zone. Times of the day keep the wall clock, so none comes twice
-- that day; a rhythm goes on from now.
declare
  shift interval := pgsched.offset_at(rules, task.scheduled_for);
  wall timestamp := timezone(interval '0', task.scheduled_for) + shift;
begin
  if task.cron_expression is not null and not (pgsched.read_cron(task.cron_expression)).fixed then
    return pgsched.first_tick(task, least(task.scheduled_for, clock_timestamp() + interval '1 microsecond'));
  end if;
  perform set_config('timezone', task.timezone, true);
  return pgsched.first_tick(task, coalesce(pgsched.early_reading(wall, wall::timestamptz), task.scheduled_for));
end $$;

-- For workers: moves what was booked by rules of time zones that have changed since; returns these zones, and how many
-- schedules moved.
create function pgsched.follow_zones() returns table(zone text, schedules bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  -- Not among the settings of the function: only a superuser may have those of others there.
  before text := current_setting('pgsched.restoring', true);
  known pgsched.zone_rules;
  noted pgsched.zone_rules;
  task pgsched.tasks;
  tick timestamptz;
begin
  perform pg_advisory_xact_lock(hashtext('pgsched.follow_zones'));
  perform set_config('pgsched.restoring', 'on', true);
  for zone in
    select distinct t.timezone from pgsched.tasks t
    where t.schedule_type <> 'one_time' and t.timezone <> 'UTC' and t.next_run_at is not null
  loop
    known := pgsched.read_zone(zone);
    continue when known.zone is null;  -- the doctor tells
    select * into noted from pgsched.zone_rules z where z.zone = known.zone;
    insert into pgsched.zone_rules select known.*
    on conflict on constraint zone_rules_pkey do update
    set since = excluded.since, until = excluded.until, changes = excluded.changes, offsets = excluded.offsets, noted_at = excluded.noted_at
    where (zone_rules.until, zone_rules.changes, zone_rules.offsets)
      is distinct from (excluded.until, excluded.changes, excluded.offsets);
    -- Up to where both are known; what is over does not matter.
    continue when noted.zone is null or not exists (
      select from unnest(array[now()] || known.changes || noted.changes) c
      where c between now() and least(known.until, noted.until) - interval '1 day'
        and pgsched.offset_at(known, c) is distinct from pgsched.offset_at(noted, c));
    schedules := 0;
    -- What runs meanwhile was claimed by a worker that may know the old rules: the database books its next tick. The wall
    -- clock of a tick that has begun does not come again that day.
    update pgsched.tasks t
    set revision = t.revision + 1,
      planned_from = case when t.cron_expression is null or (pgsched.read_cron(t.cron_expression)).fixed
        then greatest(t.planned_from, pgsched.move_tick(t, noted) + interval '1 microsecond') else t.planned_from end
    where t.timezone = known.zone and t.schedule_type <> 'one_time'
      and (t.status in ('running', 'blocked') or t.status = 'pending' and t.attempts > 0)
      and (t.cron_expression is not null or extract(day from t.repeat_interval) <> 0 or date_trunc('month', t.repeat_interval) <> '0');
    for task in
      select * from pgsched.tasks t
      where t.timezone = known.zone and t.schedule_type <> 'one_time' and t.status = 'pending' and t.attempts = 0
        and (t.cron_expression is not null or extract(day from t.repeat_interval) <> 0 or date_trunc('month', t.repeat_interval) <> '0')
      order by t.id
      for no key update
    loop
      tick := pgsched.move_tick(task, noted);
      continue when tick is not distinct from task.scheduled_for;
      update pgsched.tasks t
      set scheduled_for = coalesce(tick, t.scheduled_for), next_run_at = pgsched.due_at(t.id, tick, t.jitter),
        status = case when tick is null then 'completed' else 'pending' end, completed_at = case when tick is null then clock_timestamp() end,
        revision = t.revision + 1
      where t.id = task.id;
      schedules := schedules + 1;
    end loop;
    return next;
  end loop;
  perform set_config('pgsched.restoring', coalesce(before, ''), true);
end $$;

-- Workflows -----------------------------------------------------------------------------------------------------------
-- Tasks that wait for others, and groups that create their own children.

-- For workers: tells the tasks that wait for these that they have ended; returns how many of them go on or are
-- cancelled.
create function pgsched.settle(ids bigint[]) returns integer
language plpgsql as $$
#variable_conflict use_variable
begin
  return pgsched.settle_ended(ids, false);
end $$;

-- For workers: as settle. told: their ends were told before, so nobody follows them anew.
create function pgsched.settle_ended(ids bigint[], told boolean) returns integer
language plpgsql
set enable_seqscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- Tells those who wait for these tasks that they have ended. Returns how many were released or cancelled.
-- Rows are locked in the order of their ids, here as in a finish.
-- `told`: the ends were told before, so who follows them has had its runs.
declare
  ended bigint[] := ids;
  over bigint[];
  new_ends boolean := not told;
  moved_rows integer := 0;
begin
  while cardinality(ended) > 0 loop
    moved_rows := moved_rows + pgsched.wake_parents(ended);
    if new_ends then
      perform pgsched.follow(t.parent_id, t.scheduled_for, t.id)
      -- Found by id and then judged: the planner might take any index of rows that have a parent.
      from (select * from pgsched.tasks t where t.id = any(ended) offset 0) t
      where t.parent_id is not null and t.idempotency_key like 'tick:%'
        and t.status in ('completed', 'dead', 'cancelled');
    end if;
    new_ends := true;
    with upstream as (
      select e.id, u.status, u.status not in ('dead', 'cancelled', 'deleted') as good
      from unnest(ended) as e(id)
      left join pgsched.tasks t on t.id = any(array[e.id])
      cross join lateral (
        select case when t.id is not null then t.status::text
          when pgsched.has_left(e.id) then 'completed'
          else 'deleted' end as status) u
      union all
      -- The tick of a schedule that may overlap itself ran in a child.
      select t.parent_id, 'completed', true
      from (select * from pgsched.tasks t where t.id = any(ended) offset 0) t
      where t.status = 'completed' and t.parent_id is not null and t.idempotency_key like 'tick:%'
    ),
    gone as (
      -- By index, whatever the statistics say: one task with 100,000 dependents would let the planner read all edges for each end.
      delete from pgsched.dependencies d
      using upstream u, pgsched.tasks t
      where d.upstream_id = any(array[u.id]) and t.id = any(array[d.task_id])
        and case when t.dependency_mode = 'each'
          then u.status = 'deleted' or not u.good and t.on_dependency_dead = 'cancel'  -- it goes on from tick to tick
          else u.good or u.status = 'deleted' or t.on_dependency_dead <> 'wait' or t.fired is not null end
      returning d.task_id, u.id as upstream_id, u.status, u.good
    ),
    news as (
      select g.task_id, count(*)::integer as settled, bool_or(g.good) as some_good,
        min(g.upstream_id) filter (where not g.good) as bad_id,
        (array_agg(g.status order by g.upstream_id) filter (where not g.good))[1] as bad_status
      from gone g group by g.task_id
    ),
    locked as materialized (
      -- What is new comes along with the row: a join of the two would compare each with each, as sessions of workers use no hash.
      select t.id, t.waiting_for, t.scheduled_for, t.dependency_mode,
        case when t.fired is null then t.on_dependency_dead else 'run' end as policy,
        n.some_good, n.bad_id, n.bad_status, t.waiting_for - n.settled as remaining
      from news n join pgsched.tasks t on t.id = any(array[n.task_id])
      where t.status = 'blocked'
      order by t.id
      for no key update of t
    ),
    judged as (
      select l.*,
        case
          when l.dependency_mode = 'each' then false
          when l.dependency_mode = 'any' then l.some_good or l.policy = 'run'
          else l.remaining <= 0 and (l.bad_id is null or l.policy = 'run') end as released,
        l.dependency_mode = 'each' or l.policy <> 'run' and l.bad_id is not null
          and (l.dependency_mode = 'all' or l.remaining <= 0 and not l.some_good) as cancelled
      from locked l
    ),
    moved as (
      update pgsched.tasks t
      set status = case when j.released then 'pending' when j.cancelled then 'cancelled' else 'blocked' end,
        next_run_at = case when j.released then greatest(j.scheduled_for, clock_timestamp()) end,
        waiting_for = case when j.released then 0 else j.remaining end,
        completed_at = case when j.cancelled and not j.released then now() end,
        last_error = case when j.cancelled and not j.released
          then format('task %s, which it depends on, is %s', j.bad_id, j.bad_status) else t.last_error end,
        updated_at = now()
      from judged j
      where t.id = any(array[j.id])
      returning t.id, t.status, t.observed
    )
    select array_agg(m.id) filter (where m.status <> 'blocked'),
      array_agg(m.id) filter (where m.status = 'cancelled' and m.observed)
    into over, ended
    from moved m;
    delete from pgsched.dependencies d where d.task_id = any(over);
    moved_rows := moved_rows + coalesce(cardinality(over), 0);
  end loop;
  return moved_rows;
end $$;

-- For the schema: whether a completed task left its row on completion (retention 0) and is in the history only.
create function pgsched.has_left(id bigint) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- A function of its own, so that the partitions of the history are planned where a row is missing, and not for each end and
-- each insert of a dependent.
begin
  return exists (select from pgsched.executions x where x.task_id = has_left.id and x.task is not null);
end $$;

-- For the schema: makes the runs of the tasks that follow a schedule, for a tick that this task ran: the schedule or a
-- child. Returns how many.
create function pgsched.follow(upstream bigint, tick timestamptz, ran bigint) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- Makes the runs of those who follow a schedule, for one of its ticks. `ran` is the task that ran it: the schedule itself, whose
-- tick is completed, so that the run is due; or a child, for which the run waits as any dependent does, so that a dead one is
-- answered by on_dependency_dead. The key has one run for each tick, whoever asks and however often.
-- A follower is locked in share mode: one that is being paused, cancelled or edited is as that transaction leaves it.
declare
  made integer;
begin
  perform set_config('pgsched.following', case when ran = upstream then 'on' else '' end, true);  -- for block_task
  insert into pgsched.tasks (
    task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, inserted_by, schedule_type,
    scheduled_for, next_run_at, timezone, max_attempts, backoff, backoff_delay, backoff_max, backoff_factor, backoff_jitter,
    timeout, concurrency_key, parent_id, idempotency_key, depends_on, on_dependency_dead, observed,
    on_missed, overlap, dependency_mode)  -- complete: nobody else is asked what it is to have
  select f.task_type, f.task_name, f.queue, f.priority, f.payload, f.metadata, f.tags, f.tenant_id, f.user_id, f.created_by,
    f.inserted_by, 'one_time', tick, case when ran = upstream then clock_timestamp() end, f.timezone, f.max_attempts,
    f.backoff, f.backoff_delay, f.backoff_max, f.backoff_factor, f.backoff_jitter, f.timeout, f.concurrency_key, f.id,
    format('tick:%s:%s', f.id, extract(epoch from tick)), array[ran], f.on_dependency_dead, f.observed,
    'once', 'skip', 'all'
  from (
    select t.*
    from pgsched.tasks t
    where t.id = any(array(select d.task_id from pgsched.dependencies d where d.upstream_id = upstream))
      and t.dependency_mode = 'each' and t.status = 'blocked' and t.enabled
    order by t.id
    for share
  ) f
  on conflict (idempotency_key) where idempotency_key is not null do nothing;
  get diagnostics made = row_count;
  perform set_config('pgsched.following', '', true);
  return made;
end $$;

-- For the schema: a schedule that somebody waits for has ended a tick: makes the runs of the tasks that follow it.
create function pgsched.follow_tick() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A schedule has ended a tick that it ran itself. Which one, and how, is in the history that the same statement has written;
-- a tick that used up its attempts has left a dead child. One that a child runs is over when the child is.
declare
  tick timestamptz;
  ran bigint;
begin
  select e.scheduled_for, new.id into tick, ran
  from pgsched.executions e
  where e.task_id = new.id and e.fencing_token = old.fencing_token and e.started_at = new.last_run_at
    and e.status = 'completed'
  limit 1;
  if not found then
    select c.scheduled_for, c.id into tick, ran
    from pgsched.tasks c
    where c.parent_id = new.id and c.status = 'dead' and c.died_at = new.updated_at
    order by c.id desc
    limit 1;
  end if;
  if tick is not null then
    perform pgsched.follow(new.id, tick, ran);
  end if;
  return null;
end $$;

-- For the schema: refuses dependency_mode each for a row that does not follow one schedule.
create function pgsched.check_follower(task pgsched.tasks) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses a row with dependency_mode each that does not follow one schedule, or another row that does.
declare
  problem text := case
    when cardinality(task.depends_on) <> 1
      then format('dependency_mode each needs one task in depends_on, got %s', cardinality(task.depends_on))
    when exists (
      select from pgsched.tasks t
      where t.id = task.depends_on[1] and t.schedule_type = 'one_time' and t.dependency_mode <> 'each')
      then format('dependency_mode each follows a schedule, but task %s in depends_on is one_time', task.depends_on[1])
  end;
begin
  if problem is not null then
    raise invalid_parameter_value using
      message = problem, column = 'dependency_mode', table = 'tasks', schema = 'pgsched';
  end if;
end $$;

-- For the schema: checks a row that follows a schedule, and that rows neither begin nor cease to follow by an edit.
create function pgsched.guard_follower() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if tg_op = 'UPDATE' then
    raise object_not_in_prerequisite_state using message =
      format('dependency_mode of task %s cannot be changed from %s to %s: schedule it anew', old.id, old.dependency_mode,
        new.dependency_mode);
  elsif new.scheduled_for is not null and current_setting('pgsched.restoring', true) is distinct from 'on' then
    raise invalid_parameter_value using message = format(
        'scheduled_for must be left out with dependency_mode each, which runs when a tick is completed, got %s', new.scheduled_for),
      column = 'scheduled_for', table = 'tasks', schema = 'pgsched';
  end if;
  perform pgsched.check_follower(new);
  return new;
end $$;

-- For the schema: makes a row one that waits for others.
create function pgsched.block_task(task pgsched.tasks, waiting_for integer) returns pgsched.tasks
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A row that depends on so many others.
begin
  if task.schedule_type <> 'one_time' then
    raise invalid_parameter_value using message = 'depends_on is for one-time tasks, this one is ' || task.schedule_type,
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  -- The run of a follower for a tick that the schedule has just completed: there is nothing to wait for.
  if current_setting('pgsched.following', true) = 'on' then
    perform pgsched.wake_sleepers(task.queue, task.next_run_at);
    return task;
  end if;
  task.status := 'blocked';
  task.next_run_at := null;
  task.waiting_for := block_task.waiting_for;
  return task;
end $$;

-- For the schema: refuses ids in depends_on that are not there, and circles.
create function pgsched.check_dependencies(id bigint, upstream bigint[], made_by bigint default null) returns void
language plpgsql
set enable_seqscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
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
  -- In this order: the planner would ask the function first.
  where case when exists (select from pgsched.tasks t where t.id = any(array[u])) then false else not pgsched.has_left(u) end
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
        select d.upstream_id from above join pgsched.dependencies d on d.task_id = any(array[above.id])
      )
      select from above where above.id = check_dependencies.id
    ) then
      raise invalid_parameter_value using message = format('depends_on: task %s would wait for itself', check_dependencies.id),
        column = 'depends_on', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
end $$;

-- For the schema: writes down whom a blocked task waits for.
create function pgsched.add_dependencies() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- Writes down whom a blocked row waits for.
begin
  perform pgsched.check_dependencies(new.id, new.depends_on, new.parent_id);
  insert into pgsched.dependencies (upstream_id, task_id) select distinct u, new.id from unnest(new.depends_on) u;
  return null;
end $$;

-- For the schema: depends_on of a task that has not begun was edited.
create function pgsched.change_dependencies() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- An edit of depends_on: only of a row that has not begun, and with the rows it waits for locked until the commit. A trigger
-- after updates would do it as an insert does, but would be paid by every claim and finish.
declare
  ended record;
begin
  if old.status not in ('blocked', 'pending') or old.attempts > 0 or old.fired is not null then
    raise object_not_in_prerequisite_state using
      message = format('depends_on of task %s cannot be changed: it has begun or ended', old.id);
  end if;
  delete from pgsched.dependencies d where d.task_id = new.id;
  if new.dependency_mode = 'each' then
    perform pgsched.check_follower(new);
  end if;
  perform pgsched.check_dependencies(new.id, new.depends_on);
  perform from pgsched.tasks t where t.id = any(new.depends_on) order by t.id for no key update;
  select t.id, t.status into ended
  from pgsched.tasks t where t.id = any(new.depends_on) and t.status in ('dead', 'cancelled') limit 1;
  if found and new.on_dependency_dead = 'cancel' then
    raise invalid_parameter_value using message = format('depends_on: task %s is %s', ended.id, ended.status),
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  insert into pgsched.dependencies (upstream_id, task_id)
  select t.id, new.id from pgsched.tasks t
  where t.id = any(new.depends_on) and (new.dependency_mode = 'each' or t.status <> 'completed'
    and not (t.status in ('dead', 'cancelled') and new.on_dependency_dead = 'run'));
  get diagnostics new.waiting_for = row_count;
  update pgsched.tasks t set observed = true where t.id = any(new.depends_on) and not t.observed;
  if new.waiting_for = 0
    or new.dependency_mode = 'any' and new.waiting_for < (select count(distinct u) from unnest(new.depends_on) u) then
    delete from pgsched.dependencies d where d.task_id = new.id;
    new.status := 'pending';
    new.next_run_at := greatest(new.scheduled_for, now());
    new.waiting_for := 0;
    if new.enabled then
      perform pgsched.wake_sleepers(new.queue, new.next_run_at);
    end if;
  else
    new := pgsched.block_task(new, new.waiting_for);
  end if;
  new.updated_at := now();
  return new;
end $$;

-- For the schema: at the commit of a task that waits: marks those it waits for, and settles what has ended by then.
create function pgsched.watch_dependencies() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' set enable_hashjoin = 'off'
  set enable_mergejoin = 'off' set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- At the commit of a row that waits: marks those it waits for, and settles what has ended by then. All of them are locked,
-- also those that are marked already: one that is just being ended by another transaction is waited for.
begin
  perform from pgsched.tasks t where t.id = any(new.depends_on) order by t.id for no key update;
  update pgsched.tasks t set observed = true where t.id = any(new.depends_on) and not t.observed;
  perform pgsched.settle_ended(array(
    select d from unnest(new.depends_on) d left join pgsched.tasks t on t.id = any(array[d])
    where t.id is null or t.status in ('completed', 'dead', 'cancelled')), true);
  return null;
end $$;

-- For the schema: a deleted task waits for nothing, and who waits for it is told.
create function pgsched.forget_dependencies() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- A deleted row waits for nothing, and who waits for it is told.
begin
  delete from pgsched.dependencies d where d.task_id = old.id;
  if old.observed then
    perform pgsched.settle(array[old.id]);
    if old.parent_id is not null then  -- its row is gone: who looked for it would not find whose child it was
      perform pgsched.wake_parent(old.id, old.parent_id);
    end if;
  end if;
  return null;
end $$;

-- For workers: makes the children of a claimed group. Returns how many; null when the claim was lost.
create function pgsched.fire_group(id bigint, token bigint) returns integer
language plpgsql as $$
-- Makes the children of a group's tick, and lets the group wait for them. For the worker that claimed it: with another
-- fencing token nothing happens and null is returned. The claim does not count as an attempt: the one that joins does.
#variable_conflict use_variable
declare
  task pgsched.tasks;
  ids bigint[];
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
  return pgsched.make_steps(task, task.payload, ids, 0);
end $$;

-- For workers: what came of the children of a claimed group. No row when the claim was lost.
create function pgsched.join_group(
  id bigint, token bigint
) returns table (ok boolean, result jsonb, error text, seconds double precision)
language sql stable as $$
-- What came of the children of a group that was claimed again: no row when the claim was lost.
select bool_and(c.status is not distinct from 'completed'),
  jsonb_object_agg(coalesce(c.task_name, c.task_type), c.result) filter (where c.status = 'completed'),
  left(string_agg(format('step %s (task %s) is %s%s', c.task_name, f.id, coalesce(c.status, 'deleted'),
    ': ' || split_part(c.last_error, E'\n', 1)), '; ' order by f.id)
    filter (where c.status is distinct from 'completed'), 4000),
  extract(epoch from clock_timestamp() - g.last_run_at)::double precision
from pgsched.tasks g
cross join unnest(g.fired) as f(id)
left join pgsched.tasks c on c.id = f.id
where g.id = join_group.id and g.fencing_token = join_group.token and g.status = 'running'
group by g.id
$$;

-- For the schema: inserts the steps of a plan, of which the first ones may be there, as children of a group. Returns
-- how many.
create function pgsched.make_steps(task pgsched.tasks, plan jsonb, ids bigint[], made_before integer) returns integer
language plpgsql as $$
#variable_conflict use_column
-- Those of the first `made_before` ids are there already.
declare
  made integer;
begin
  insert into pgsched.tasks (
    id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
    scheduled_for, next_run_at, timezone, max_attempts, backoff, backoff_delay, backoff_max, timeout, depends_on,
    dependency_mode, on_dependency_dead, concurrency_key, parent_id, observed, backoff_factor, backoff_jitter)
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
    coalesce(w.upstream, '{}'), s.step ->> 'dependency_mode', s.step ->> 'on_dependency_dead',
    coalesce(s.step ->> 'concurrency_key', h.concurrency_key, task.concurrency_key), task.id, true,
    (s.step ->> 'backoff_factor')::double precision, (s.step ->> 'backoff_jitter')::double precision
  from pgsched.group_steps(plan) s
  left join pgsched.task_defaults h on h.kind = 'handler' and h.name = s.step ->> 'task_type'
  left join (
    select e.name, array_agg(ids[o.place] order by o.place) as upstream
    from pgsched.group_edges(plan) e join pgsched.group_steps(plan) o on o.name = e.waits_for
    group by e.name) w on w.name = s.name
  where s.place > made_before
  order by s.place;
  get diagnostics made = row_count;
  if made < cardinality(ids) - made_before then
    raise integrity_constraint_violation using message = format(
      'of %s steps %s were not inserted: a trigger or a row security policy on pgsched.tasks keeps them out',
      cardinality(ids) - made_before, cardinality(ids) - made_before - made);
  end if;
  return made;
end $$;

-- Adds steps to a group whose steps run, which then waits for them, too. Returns their ids. Their order is that among
-- themselves; after may name steps that are there.
-- id: The group.
-- steps: The steps, as in the plan of a group.
create function pgsched.add_steps(id bigint, steps jsonb) returns bigint[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The plan of what is there and what is new: of the steps that are there only their names count, and which tasks they are.
-- Steps are locked before their group, as finishes do it: those that the new ones wait for may be ending.
declare
  task pgsched.tasks;
  there bigint[];
  ids bigint[];
  plan jsonb;
  problem text;
  named text[];
begin
  if jsonb_typeof(steps) = 'object' then
    steps := steps -> 'steps';
  end if;
  if jsonb_typeof(steps) is distinct from 'array' then
    perform pgsched.check_group(jsonb_build_object('steps', steps));
  end if;
  named := array(
    select distinct a from pgsched.group_steps(jsonb_build_object('steps', steps)) s cross join unnest(s."after") a);
  perform from pgsched.tasks t
  where t.parent_id = add_steps.id and t.observed and t.task_name = any(named) order by t.id for no key update;
  task := pgsched.locked_task(add_steps.id);
  if task.task_type <> 'pgsched.group' then
    raise object_not_in_prerequisite_state using message = format('task %s is no group', task.id);
  elsif task.fired is null and task.status in ('pending', 'blocked') then
    raise object_not_in_prerequisite_state using message = format('group %s has not begun: change its plan instead', task.id);
  elsif not (task.status = 'blocked' or task.status = 'pending' and task.fired is not null) then
    raise object_not_in_prerequisite_state using
      message = format('group %s is %s: steps can be added while its steps run', task.id, task.status);
  end if;
  select jsonb_build_object('steps', jsonb_agg(jsonb_build_object(
      'task_type', 'step', 'name', coalesce(t.task_name, t.task_type), 'after', '[]'::jsonb) order by f.place) || steps),
    array_agg(t.id order by f.place)
  into plan, there
  from unnest(task.fired) with ordinality as f(id, place) join pgsched.tasks t on t.id = f.id;
  problem := pgsched.group_problem(plan);
  if problem is not null then
    raise invalid_parameter_value using message = format('steps of group %s: %s', task.id, problem);
  end if;
  ids := array(
    select nextval('pgsched.tasks_id_seq') from generate_series(1, jsonb_array_length(steps)));
  update pgsched.tasks t
  set status = 'blocked', next_run_at = null, fired = t.fired || ids, waiting_for = t.waiting_for + cardinality(ids),
    updated_at = now()
  where t.id = task.id;
  insert into pgsched.dependencies (upstream_id, task_id) select unnest(ids), task.id;
  perform pgsched.make_steps(task, plan, there || ids, cardinality(there));
  return ids;
end $$;

-- For workers: add_steps to the group of a step, for the attempt that has just ended; null when the claim was lost.
create function pgsched.add_steps_by(worker uuid, id bigint, token bigint, steps jsonb) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Before the finish of the step that adds them, in its transaction: what is fenced there is fenced here.
declare
  parent bigint := (select t.parent_id from pgsched.tasks t where t.id = add_steps_by.id);
  named text[] := array(
    select distinct a from pgsched.group_steps(jsonb_build_object('steps', steps)) s cross join unnest(s."after") a);
begin
  -- It is locked together with those that the new steps wait for.
  perform from pgsched.tasks t
  where t.id = add_steps_by.id or t.parent_id = parent and t.observed and t.task_name = any(named)
  order by t.id for no key update;
  if not exists (
    select from pgsched.tasks t
    where t.id = add_steps_by.id and t.status = 'running' and t.locked_by = worker and t.fencing_token = token) then
    return null;
  end if;
  if not exists (select from pgsched.tasks g where g.id = parent and add_steps_by.id = any(g.fired)) then
    raise invalid_parameter_value using message = format('task %s is no step of a group: it cannot add steps to it', id);
  end if;
  return pgsched.add_steps(parent, steps);
exception when object_not_in_prerequisite_state then
  raise invalid_parameter_value using message = sqlerrm;  -- of the outcome, which is not to be tried again
end $$;

-- For the schema: locks what a retry of these tasks may change, where they are steps of groups, in the order in which
-- finishes lock it.
create function pgsched.lock_steps(ids bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- The steps of the groups that these tasks are steps of, and then the groups: as finishes and cancels lock them. A group may be
-- the step of another one.
declare
  groups bigint[] := ids;
begin
  loop
    groups := array(
      select distinct g.id
      from pgsched.tasks t
      join pgsched.tasks g on g.id = t.parent_id and g.task_type = 'pgsched.group' and t.id = any(g.fired)
      where t.id = any(groups));
    exit when cardinality(groups) = 0;
    -- The steps of a group once, and not once for each of its steps that is asked for.
    perform from pgsched.tasks t
    where t.id = any(array(select unnest(g.fired) from pgsched.tasks g where g.id = any(groups)))
    order by t.id for no key update;
    perform from pgsched.tasks t where t.id = any(groups) order by t.id for no key update;
  end loop;
end $$;

-- For the schema: the groups of these steps that have a step which was cancelled because of another one.
create function pgsched.torn_groups(ids bigint[]) returns bigint[]
language sql stable security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
select array(
  select distinct c.parent_id
  from pgsched.tasks c
  where c.parent_id = any(array(
      select distinct t.parent_id from pgsched.tasks t where t.id = any(torn_groups.ids) and t.parent_id is not null))
    and c.status = 'cancelled' and c.last_error like 'task %, which it depends on, is %')
$$;

-- For the schema: lets the group of a step that was retried wait for it again, and with it the steps that were
-- cancelled because of it.
create function pgsched.rejoin(id bigint, torn bigint[] default null) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' set enable_hashjoin = 'off'
  set enable_mergejoin = 'off' as $$
#variable_conflict use_variable
-- `torn`: the groups that have a step which was cancelled because of another one; null: it is not known.
-- A step that runs again: its group waits for it again, and so do the steps that were cancelled because it had not been completed.
-- All of that is locked (lock_steps).
declare
  step bigint := id;
  group_row pgsched.tasks;
  again bigint[];
  behind bigint[];
  added integer;
begin
  loop
    select g.* into group_row
    from pgsched.tasks t
    join pgsched.tasks g on g.id = t.parent_id and g.task_type = 'pgsched.group' and t.id = any(g.fired)
    where t.id = step and (g.status in ('blocked', 'pending', 'running') or g.status = 'dead' and g.schedule_type = 'one_time');
    exit when not found;
    again := array[step];
    -- Every step of the group is read here, so that a retry of many steps says which groups need it.
    while torn is null or step <> id or group_row.id = any(torn) loop
      behind := array(
        select c.id from pgsched.tasks c
        where c.id = any(group_row.fired) and c.id <> all(again) and c.status = 'cancelled' and c.depends_on && again
          and c.last_error like 'task %, which it depends on, is %'
          and (c.dependency_mode = 'any' or not exists (
            select from unnest(c.depends_on) u left join pgsched.tasks t on t.id = u
            where u <> all(again) and coalesce(t.status in ('dead', 'cancelled'), true))));
      exit when cardinality(behind) = 0;
      again := again || behind;
    end loop;
    insert into pgsched.dependencies (upstream_id, task_id)
    select distinct u, c.id
    from pgsched.tasks c cross join unnest(c.depends_on) u join pgsched.tasks t on t.id = u
    where c.id = any(again) and c.id <> step and (u = any(again) or t.status in ('pending', 'running', 'blocked'));
    update pgsched.tasks c
    set status = 'blocked', completed_at = null, last_error = null, updated_at = now(),
      waiting_for = (select count(*) from pgsched.dependencies d where d.task_id = c.id)
    where c.id = any(again) and c.id <> step;
    insert into pgsched.dependencies (upstream_id, task_id) select a, group_row.id from unnest(again) a on conflict do nothing;
    get diagnostics added = row_count;
    -- A worker that gathers the results just now is fenced.
    update pgsched.tasks g
    set status = 'blocked', next_run_at = null, died_at = null, locked_by = null, locked_until = null, updated_at = now(),
      attempts = 0, last_error = case when group_row.status = 'dead' then null else g.last_error end,
      fencing_token = case when group_row.status = 'running'
        then greatest(nextval('pgsched.fencing_tokens'), g.fencing_token + 1) else g.fencing_token end,
      waiting_for = case when group_row.status = 'blocked' then g.waiting_for else 0 end + added
    where g.id = group_row.id;
    exit when group_row.status <> 'dead';
    step := group_row.id;
  end loop;
end $$;

-- For the schema: the steps of a group, one a row.
create function pgsched.group_steps(
  payload jsonb
) returns table (place bigint, name text, "order" numeric, parallel boolean, after text[], step jsonb)
language sql immutable as $$
select s.place, coalesce(s.step ->> 'name', s.step ->> 'task_type'),
  coalesce((s.step ->> 'order')::numeric, s.place), coalesce((s.step ->> 'parallel')::boolean, true),
  case when s.step ? 'after' then array(select jsonb_array_elements_text(s.step -> 'after')) end, s.step
from (
  -- A name alone is the step of that type.
  select case when jsonb_typeof(e.step) = 'string' then jsonb_set('{}', '{task_type}', e.step) else e.step end as step, e.place
  from jsonb_array_elements(payload -> 'steps') with ordinality as e(step, place)) as s
$$;

-- For the schema: which step of a group waits for which.
create function pgsched.group_edges(payload jsonb) returns table(name text, waits_for text)
language sql immutable as $$
-- Who waits for whom: for the names in `after`; without it for all steps of the stage before. A stage is a run of steps of
-- one order that may be side by side. Stages are not joined: the planner takes thousands of steps for a handful.
with step as (select * from pgsched.group_steps(payload)),
staged as (
  select s.name, sum(s.begins) over (order by s."order", s.place) as stage
  from (
    select s.*, case
      when s.parallel and lag(s.parallel) over w and lag(s."order") over w = s."order" then 0 else 1 end as begins
    from step s where s."after" is null
    window w as (order by s."order", s.place)) s
),
stages as (
  select array_agg(s.name) as names, lag(array_agg(s.name)) over (order by s.stage) as earlier
  from staged s group by s.stage
)
select n, e from stages s cross join unnest(s.names) n cross join unnest(s.earlier) e
union all
select s.name, a.waits_for from step s cross join unnest(s."after") a(waits_for)
$$;

-- The rule that the payload of a group breaks, or null.
-- payload: An object with steps, as pgsched.flow makes it.
create function pgsched.group_problem(payload jsonb) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The rule that a group's payload breaks, or null.
declare
  one record;
  steps integer;
  laters integer[];
  earliers integer[];
  places integer[];  -- of each step, where its edges begin in the two above
  waits integer[];  -- of each step, for how many it still waits
  free integer[];
  before integer[];
  step integer;
  edge integer;
  head integer := 1;
begin
  if jsonb_typeof(payload -> 'steps') is distinct from 'array' or jsonb_array_length(payload -> 'steps') = 0 then
    return 'steps must be a list of one step or more';
  end if;
  if jsonb_array_length(payload -> 'steps') > 10000 then
    return 'steps must be at most 10000, got ' || jsonb_array_length(payload -> 'steps');
  end if;
  for one in
    select case when jsonb_typeof(s.step) = 'string' then jsonb_set('{}', '{task_type}', s.step) else s.step end as step, s.place
    from jsonb_array_elements(payload -> 'steps') with ordinality as s(step, place)
  loop
    if jsonb_typeof(one.step) <> 'object' then
      return format('step %s must be an object', one.place);
    end if;
    if jsonb_typeof(one.step -> 'task_type') is distinct from 'string' then
      return format('step %s must have a task_type', one.place);
    end if;
    if exists (select from jsonb_object_keys(one.step) k where k not in (
      'task_type', 'name', 'payload', 'metadata', 'order', 'parallel', 'after', 'queue', 'priority', 'max_attempts',
      'backoff', 'backoff_delay', 'backoff_max', 'backoff_factor', 'backoff_jitter', 'timeout', 'on_dependency_dead', 'dependency_mode', 'concurrency_key', 'tags')) then
      return format('step %s: %s is no key of a step', one.place, (
        select min(k) from jsonb_object_keys(one.step) k where k not in (
          'task_type', 'name', 'payload', 'metadata', 'order', 'parallel', 'after', 'queue', 'priority', 'max_attempts',
          'backoff', 'backoff_delay', 'backoff_max', 'backoff_factor', 'backoff_jitter', 'timeout', 'on_dependency_dead', 'dependency_mode', 'concurrency_key', 'tags')));
    end if;
    if one.step ? 'name' and jsonb_typeof(one.step -> 'name') <> 'string' then
      return format('step %s: name must be text', one.place);
    end if;
    if one.step ? 'order' and jsonb_typeof(one.step -> 'order') <> 'number' then
      return format('step %s: order must be a number', one.place);
    end if;
    if one.step ? 'parallel' and jsonb_typeof(one.step -> 'parallel') <> 'boolean' then
      return format('step %s: parallel must be true or false', one.place);
    end if;
    if one.step ? 'after' and (jsonb_typeof(one.step -> 'after') <> 'array'
      or exists (select from jsonb_array_elements(one.step -> 'after') a where jsonb_typeof(a) <> 'string')) then
      return format('step %s: after must be a list of names', one.place);
    end if;
    if one.step ? 'tags' and jsonb_typeof(one.step -> 'tags') <> 'array' then
      return format('step %s: tags must be a list', one.place);
    end if;
    if one.step ->> 'dependency_mode' = 'each' then
      return format('step %s: dependency_mode must be all or any, got ''each''', one.place);
    end if;
    if one.step ->> 'task_type' = 'pgsched.group' then
      perform pgsched.check_group(coalesce(one.step -> 'payload', '{}'));
    end if;
    -- The rules of the columns.
    perform (one.step ->> 'task_type')::pgsched.task_type, (one.step -> 'payload')::pgsched.payload,
      (one.step -> 'metadata')::pgsched.metadata, (one.step ->> 'queue')::pgsched.queue_name,
      (one.step ->> 'priority')::pgsched.priority, (one.step ->> 'max_attempts')::pgsched.max_attempts,
      (one.step ->> 'backoff')::pgsched.backoff, (one.step ->> 'backoff_delay')::pgsched.backoff_delay,
      (one.step ->> 'backoff_max')::pgsched.backoff_max, (one.step ->> 'backoff_factor')::pgsched.backoff_factor, (one.step ->> 'backoff_jitter')::pgsched.backoff_jitter, (one.step ->> 'timeout')::pgsched.timeout,
      (one.step ->> 'on_dependency_dead')::pgsched.on_dependency_dead, (one.step ->> 'dependency_mode')::pgsched.dependency_mode,
      (one.step ->> 'concurrency_key')::pgsched.concurrency_key;
  end loop;
  select s.name into one from pgsched.group_steps(payload) s group by s.name having count(*) > 1 limit 1;
  if found then
    return format('steps must have different names, %L is there twice', one.name);
  end if;
  select s.name, a.waits_for into one
  from pgsched.group_steps(payload) s cross join unnest(s."after") a(waits_for)
  where not exists (select from pgsched.group_steps(payload) o where o.name = a.waits_for) limit 1;
  if found then
    return format('step %L: after names %L, which is no step', one.name, one.waits_for);
  end if;
  if (select count(*) > 1000000 from pgsched.group_edges(payload)) then
    return 'steps must not wait for one another more than 1000000 times in all: put a step in between that joins them';
  end if;
  -- Take away what waits for nothing that is left, edge by edge; a circle stays.
  if exists (select from pgsched.group_steps(payload) s where cardinality(s."after") > 0) then
    steps := jsonb_array_length(payload -> 'steps');
    waits := array_fill(0, array[steps]);
    places := array_fill(0, array[steps]);
    before := array_fill(0, array[steps]);
    select array_agg(e.later order by e.earlier), array_agg(e.earlier order by e.earlier) into laters, earliers
    from (
      select later.place::integer as later, earlier.place::integer as earlier
      from pgsched.group_edges(payload) e
      join pgsched.group_steps(payload) later on later.name = e.name
      join pgsched.group_steps(payload) earlier on earlier.name = e.waits_for) e;
    for edge in 1..cardinality(laters) loop
      waits[laters[edge]] := waits[laters[edge]] + 1;
      if places[earliers[edge]] = 0 then
        places[earliers[edge]] := edge;
      end if;
    end loop;
    free := array(select i from generate_series(1, steps) i where waits[i] = 0);
    while head <= cardinality(free) loop
      step := free[head];
      edge := places[step];
      while edge > 0 and edge <= cardinality(laters) and earliers[edge] = step loop
        waits[laters[edge]] := waits[laters[edge]] - 1;
        if waits[laters[edge]] = 0 then
          free := free || laters[edge];
        end if;
        edge := edge + 1;
      end loop;
      head := head + 1;
    end loop;
    if cardinality(free) < steps then
      -- What is left waits for a circle or is in one: back along the edges, until a step comes twice.
      for edge in 1..cardinality(laters) loop
        if waits[laters[edge]] > 0 and waits[earliers[edge]] > 0 then
          before[laters[edge]] := earliers[edge];
        end if;
      end loop;
      step := (select min(i) from generate_series(1, steps) i where waits[i] > 0);
      for edge in 1..steps loop
        step := before[step];
      end loop;
      free := array[step];
      while before[step] <> free[1] loop
        step := before[step];
        free := free || step;
      end loop;
      return format('step %L waits for itself', (
        select min(s.name) from pgsched.group_steps(payload) s where s.place = any(free)));
    end if;
  end if;
  return null;
end $$;

-- For the schema: refuses a plan of steps that breaks a rule.
create function pgsched.check_group(payload jsonb) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  problem text := pgsched.group_problem(payload);
begin
  if problem is not null then
    raise invalid_parameter_value using message = 'payload of a group: ' || problem,
      column = 'payload', table = 'tasks', schema = 'pgsched';
  end if;
end $$;

-- For the schema: checks the plan of a group that is edited.
create function pgsched.recheck_group() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.check_group(new.payload);
  return new;
end $$;

-- Durable runs --------------------------------------------------------------------------------------------------------
-- Events, and waking suspended runs.

-- Sends an event to a durable task, in the transaction of the sender; returns the id of the event.
-- id: The task.
-- name: What the task waits for, or will wait for.
-- payload: What the wait returns: any JSON value.
-- key: A second event of the same name and key is not stored: the id of the first is returned.
create function pgsched.emit(id bigint, name text, payload jsonb default null, key text default null) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The task is not locked here: whoever sends may do much else before it commits. deliver_event() looks for the wait then.
declare
  task record;
  sent bigint;
begin
  select t.status, t.execution_count into task from pgsched.tasks t where t.id = emit.id;
  if not found then
    perform pgsched.locked_task(emit.id);  -- raises, unless it has left
    raise object_not_in_prerequisite_state using
      message = format('task %s is over: no wait of it can take event %L', emit.id, left(name, 100));
  elsif task.status in ('completed', 'cancelled') then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s: no wait of it can take event %L', emit.id, task.status, left(name, 100));
  elsif name is null or name = '' or length(name) > 200 then
    raise invalid_parameter_value using
      message = format('event must have a name of 1 to 200 characters, got %s', coalesce(quote_literal(left(name, 100)), 'null'));
  elsif key = '' or length(key) > 500 then
    raise invalid_parameter_value using
      message = format('the key of an event must have 1 to 500 characters, got %L', left(key, 100));
  elsif octet_length(payload::text) > 1048576 then
    raise invalid_parameter_value using
      message = format('the payload of event %L must have at most 1 MiB, got %s bytes', name, octet_length(payload::text));
  end if;
  insert into pgsched.durable_events as e (task_id, tick_number, name, payload, key)
  values (emit.id, task.execution_count + 1, name, payload, key)
  on conflict do nothing
  returning e.id into sent;
  if sent is null then
    select e.id into sent from pgsched.durable_events e
    where e.task_id = emit.id and e.tick_number = task.execution_count + 1 and e.name = emit.name and e.key = emit.key;
  elsif coalesce(current_setting('pgsched.first_event', true), '') = '' then
    perform set_config('pgsched.first_event', sent::text, true);  -- see deliver_event()
  end if;
  return sent;
end $$;

-- Sends an event to the durable task that has this idempotency_key; otherwise as with an id.
-- idempotency_key: The key of the task.
-- name: What the task waits for, or will wait for.
-- payload: What the wait returns: any JSON value.
-- key: A second event of the same name and key is not stored: the id of the first is returned.
create function pgsched.emit(
  idempotency_key text, name text, payload jsonb default null, key text default null
) returns bigint
language sql
set search_path = pg_catalog, pg_temp as $$
select pgsched.emit(pgsched.task_id(idempotency_key), name, payload, key)
$$;

-- Runs a durable task afresh, or from one of its steps on: what was recorded before is kept, what came later is
-- forgotten. Children that it waits for are cancelled as by a cancel; events that were consumed stay consumed.
-- id: The task; it must not run.
-- from_step: The name of the step that runs again; null: all do.
-- from_key: The key of that step.
create function pgsched.restart(id bigint, from_step text default null, from_key text default '') returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
  run pgsched.durable_runs;
  since timestamptz;
  child bigint;
begin
  -- Children, and the steps of its group, first, as their finishes and cancel() lock them.
  perform pgsched.lock_below(restart.id);
  perform pgsched.lock_steps(array[restart.id]);
  task := pgsched.locked_task(restart.id);
  if task.status not in ('dead', 'cancelled', 'pending', 'blocked') then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be restarted', task.id, task.status),
      hint = case when task.status = 'completed' then 'run_now makes another run of it.' else 'Cancel it first.' end;
  end if;
  select * into run from pgsched.durable_runs r where r.task_id = task.id;
  if not found then
    raise object_not_in_prerequisite_state using
      message = format('task %s has recorded no step: there is nothing to restart', task.id);
  end if;
  if from_step is not null then
    select s.started_at into since from pgsched.durable_steps s
    where s.task_id = task.id and s.began_at = run.began_at and s.name = from_step and s.key = from_key;
    if not found then
      raise no_data_found using message = format('task %s has recorded no step %L%s', task.id, left(from_step, 100),
        case when from_key = '' then '' else format(' with the key %L', left(from_key, 100)) end);
    end if;
  end if;
  for child in
    select s.child_id from pgsched.durable_steps s join pgsched.tasks c on c.id = s.child_id
    where s.task_id = task.id and s.began_at = run.began_at and (since is null or s.started_at >= since)
      and s.status = 'waiting' and s.cancels_child and c.status in ('pending', 'blocked', 'running')
  loop
    perform pgsched.cancel(child);
  end loop;
  if since is null then
    delete from pgsched.durable_runs r where r.task_id = task.id;
  else
    delete from pgsched.durable_steps s
    where s.task_id = task.id and s.began_at = run.began_at and s.started_at >= since;
    update pgsched.durable_runs r set awaits = null, wakes_at = null, unasked = null where r.task_id = task.id;
  end if;
  update pgsched.tasks t
  set status = 'pending', attempts = 0, died_at = null, completed_at = null, updated_at = now(), enabled = true,
    next_run_at = clock_timestamp(), waiting_for = 0,
    planned_from = case when t.schedule_type = 'one_time' or task.status in ('pending', 'blocked') then t.planned_from
      else clock_timestamp() end  -- as in retry()
  where t.id = task.id;
  perform pgsched.rejoin(task.id);
end $$;

-- For the schema: makes a blocked run due if it waits for one of these; its task is locked by the caller.
create function pgsched.resume_run(id bigint, reasons text[]) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- The caller has locked the task.
begin
  update pgsched.durable_runs r set awaits = null, wakes_at = null
  where r.task_id = resume_run.id and r.awaits && reasons;
  if not found then
    return false;
  end if;
  update pgsched.tasks t set status = 'pending', next_run_at = clock_timestamp(), updated_at = now()
  where t.id = resume_run.id and t.status = 'blocked';
  return found;
end $$;

-- For the schema: wakes the task that an event was sent to, if it waits for it.
create function pgsched.deliver_event() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- At the sender's commit. Whoever suspends the task looks into its mailbox while it has the row locked: either it sees this
-- event, or the lock here is granted after its commit, and the task is seen blocked. Two that send to the same tasks in another
-- order must not wait for each other: the first event of a transaction that comes here locks the tasks of all, by their ids.
declare
  status text;
  first text := current_setting('pgsched.first_event', true);
begin
  if first <> '' then
    perform set_config('pgsched.first_event', '', true);
    perform from pgsched.tasks t
    where t.id = any(array(
      select e.task_id from pgsched.durable_events e where e.id >= first::bigint and e.sent_in = pg_current_xact_id()))
    order by t.id
    for no key update;
  end if;
  select t.status into status from pgsched.tasks t where t.id = new.task_id for no key update;
  if status = 'blocked' then
    perform pgsched.resume_run(new.task_id, array['event:' || new.name]);
  elsif status = 'running' then
    perform pgsched.notify('pgsched_emitted', new.task_id::text);
  end if;
  return null;
end $$;

-- For the schema: wakes a durable run if it waits for this child, which has ended.
create function pgsched.wake_parent(child bigint, parent bigint) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
#variable_conflict use_variable
-- The parent is locked whatever its status, unless it is over: it may be about to be claimed or suspended by a transaction that
-- does not see this end yet.
declare
  status text;
begin
  if not exists (select from pgsched.durable_runs r where r.task_id = parent) then
    return false;
  end if;
  select t.status into status from pgsched.tasks t
  where t.id = parent and t.status in ('pending', 'running', 'blocked')
  for no key update;
  if pgsched.resume_run(parent, array['child:' || child]) then
    return true;
  elsif status = 'running' then
    perform pgsched.notify('pgsched_emitted', parent::text);
  end if;
  return false;
end $$;

-- For workers: wakes the durable runs that wait for these tasks, which have ended; returns how many.
create function pgsched.wake_parents(ids bigint[]) returns integer
language sql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' set plan_cache_mode = 'force_generic_plan' as $$
select count(*) filter (where pgsched.wake_parent(c.id, c.parent_id))::integer
from (
  select c.id, c.parent_id from (select * from pgsched.tasks t where t.id = any(wake_parents.ids) offset 0) c
  where c.parent_id is not null and c.status in ('completed', 'dead', 'cancelled')
  order by c.parent_id, c.id
  offset 0
) c
$$;

-- For the schema: the children that are cancelled with a task: steps of a group, children of a durable run.
create function pgsched.children_of(id bigint) returns setof bigint
language sql stable
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' as $$
select unnest(t.fired) from pgsched.tasks t where t.id = children_of.id
union
select s.child_id
from pgsched.durable_runs r
join pgsched.durable_steps s on s.task_id = r.task_id and s.began_at = r.began_at
where r.task_id = children_of.id and s.status = 'waiting' and s.cancels_child and s.child_id is not null
$$;

-- For the schema: locks the children that are cancelled with a task, and theirs.
create function pgsched.lock_below(id bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' set enable_hashjoin = 'off'
  set enable_mergejoin = 'off' set jit = 'off' as $$
#variable_conflict use_variable
-- The deepest first, as their finishes lock their parents after themselves.
begin
  perform from pgsched.tasks t
  join (
    with recursive below as (
      select c as id, 1 as depth from pgsched.children_of(lock_below.id) c
      union all
      select c, b.depth + 1 from below b cross join lateral pgsched.children_of(b.id) c where b.depth < 100
    )
    select b.id, max(b.depth) as depth from below b group by b.id
  ) b on b.id = t.id
  order by b.depth desc, t.id
  for no key update of t;
end $$;

-- For workers: wakes those of these runs, suspended in this transaction, for which something has come meanwhile.
create function pgsched.recheck_runs(ids bigint[]) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- In the transaction that has suspended these runs, after it: what has come before the rows were locked is seen now.
declare
  run pgsched.durable_runs;
  woken integer := 0;
begin
  for run in
    select * from pgsched.durable_runs r where r.task_id = any(ids) and r.awaits is not null order by r.task_id
  loop
    if exists (
        select from pgsched.durable_events e
        where e.task_id = run.task_id and e.tick_number = run.tick_number and e.consumed_at is null
          and 'event:' || e.name = any(run.awaits))
      or exists (
        select from unnest(run.awaits) a
        left join pgsched.tasks c on c.id = substr(a, 7)::bigint
        where a like 'child:%' and (c.id is null or c.status in ('completed', 'dead', 'cancelled')))
    then
      woken := woken + pgsched.resume_run(run.task_id, run.awaits)::integer;
    end if;
  end loop;
  return woken;
end $$;

-- For workers: makes those suspended runs due of which a wait has timed out, or a sleep is over; returns how many.
-- most: At most so many.
create function pgsched.wake_suspended(most integer default 1000) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What somebody has locked is being woken, cancelled or edited, and comes the next time.
declare
  run record;
  woken integer := 0;
begin
  for run in
    select t.id, t.status
    from pgsched.durable_runs r join pgsched.tasks t on t.id = r.task_id
    where r.wakes_at <= now()
    order by r.wakes_at limit most
    for no key update of t skip locked
  loop
    update pgsched.durable_runs r set awaits = null, wakes_at = null
    where r.task_id = run.id and r.wakes_at <= now();
    if found then
      update pgsched.tasks t set status = 'pending', next_run_at = clock_timestamp(), updated_at = now()
      where t.id = run.id and t.status = 'blocked';
      woken := woken + found::integer;
    end if;
  end loop;
  delete from pgsched.durable_runs r
  where r.wakes_at <= now() and not exists (select from pgsched.tasks t where t.id = r.task_id);
  return woken;
end $$;

-- For workers: makes the child that a durable run waits for, and records it; null when the claim was lost.
create function pgsched.start_child(worker uuid, id bigint, token bigint, step jsonb, task jsonb) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The child and the step that waits for it come together, behind the fence of the claim.
declare
  child bigint;
  began constant timestamptz := step ->> 'began_at';
begin
  perform from pgsched.tasks t
  where t.id = start_child.id and t.fencing_token = token and t.locked_by = worker and t.status = 'running'
  for share;
  if not found then
    return null;
  end if;
  select s.child_id into child from pgsched.durable_steps s
  where s.task_id = start_child.id and s.began_at = began and s.name = step ->> 'name' and s.key = step ->> 'key'
    and s.status = 'waiting';
  if child is not null then
    return child;
  end if;
  child := (pgsched.schedule_by_key(task, 'return')).id;
  update pgsched.tasks t set observed = true, parent_id = start_child.id where t.id = child;
  insert into pgsched.durable_runs as r (task_id, tick_number, began_at, code_version)
  values (start_child.id, (step ->> 'tick_number')::integer, began, step ->> 'code_version')
  on conflict (task_id) do update
  set tick_number = excluded.tick_number, began_at = excluded.began_at, code_version = excluded.code_version,
    awaits = null, wakes_at = null, unasked = null
  where r.began_at <> excluded.began_at;
  insert into pgsched.durable_steps (
    task_id, began_at, tick_number, name, key, kind, status, child_id, cancels_child, started_at, fencing_token)
  values (start_child.id, began, (step ->> 'tick_number')::integer, step ->> 'name', step ->> 'key', 'child', 'waiting', child,
    (step ->> 'cancels_child')::boolean, clock_timestamp(), token)
  on conflict (task_id, began_at, name, key) do update  -- the one before failed, and with it the attempt
  set status = 'waiting', child_id = excluded.child_id, cancels_child = excluded.cancels_child, error = null,
    finished_at = null, fencing_token = excluded.fencing_token;
  return child;
end $$;

-- For workers: gives the dead letter of a tick what the run of that tick has recorded; returns its id.
create function pgsched.move_steps(id bigint, tick integer) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The dead letter of a tick goes on with what the tick has recorded, should it be retried.
declare
  child bigint;
begin
  select t.id into child from pgsched.tasks t
  where t.parent_id = move_steps.id and t.status = 'dead' and t.execution_count = tick - 1
  order by t.id desc limit 1;
  if child is not null then
    update pgsched.durable_steps s set task_id = child
    from pgsched.durable_runs r
    where r.task_id = move_steps.id and r.tick_number = tick and s.task_id = r.task_id and s.began_at = r.began_at;
    update pgsched.durable_events e set task_id = child where e.task_id = move_steps.id and e.tick_number = tick;
    update pgsched.durable_runs r set task_id = child, awaits = null, wakes_at = null
    where r.task_id = move_steps.id and r.tick_number = tick;
  end if;
  return child;
end $$;

-- Queues, claims and limits -------------------------------------------------------------------------------------------
-- Settings, the rules of claims, and claims that count running tasks across all workers.

-- The queues that have a task which waits or runs and is not paused.
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

-- Lets workers claim nothing more from a queue; what runs goes on. True if the queue was not paused.
create function pgsched.pause_queue(queue text) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  insert into pgsched.queues as q (name, paused) values (queue, true)
  on conflict (name) do update set paused = true, updated_at = now() where not q.paused;
  return found;
end $$;

-- Lets workers claim from a paused queue again. True if the queue was paused.
create function pgsched.resume_queue(queue text) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  update pgsched.queues q set paused = false, updated_at = now() where q.name = queue and q.paused;
  return found;
end $$;

-- Lets other programs be told, on the channel pgsched_events, what happens to the tasks of a queue, or no longer.
create function pgsched.set_queue_events(queue text, events boolean) returns void
language sql as $$
  insert into pgsched.queues as q (name, events) values (queue, events)
  on conflict (name) do update set events = excluded.events, updated_at = now()
$$;

-- Limits a queue over all workers, instead of the limits it had: so many running at once, so many starts in a time; of
-- the whole queue, of each concurrency_key.
-- name: The queue.
-- concurrency: So many of its tasks run at once.
-- concurrency_per_key: So many with the same concurrency_key run at once.
-- rate: So many start within per.
-- rate_per_key: So many with the same concurrency_key start within per.
-- per: The time of a rate, from 100 milliseconds to 31 days.
create function pgsched.limit_queue(
  name text, concurrency integer default null, concurrency_per_key integer default null, rate integer default null,
  rate_per_key integer default null, per interval default '00:00:01'::interval
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp set intervalstyle = 'postgres' as $$
#variable_conflict use_column
begin
  if num_nonnulls(limit_queue.concurrency, limit_queue.concurrency_per_key, limit_queue.rate, limit_queue.rate_per_key) = 0 then
    raise invalid_parameter_value using
      message = format('limits of queue %L: give one at least; unlimit_queue takes them away', limit_queue.name);
  end if;
  insert into pgsched.queues as q (name, limits)
  values (limit_queue.name, jsonb_strip_nulls(jsonb_build_object(
    'concurrency', limit_queue.concurrency, 'concurrency_per_key', limit_queue.concurrency_per_key,
    'rate', limit_queue.rate, 'rate_per_key', limit_queue.rate_per_key,
    'per', case when num_nonnulls(limit_queue.rate, limit_queue.rate_per_key) > 0 then limit_queue.per end)))
  on conflict (name) do update set limits = excluded.limits, updated_at = now();
end $$;

-- Takes the limits of a queue away. True if it had some.
-- name: The queue.
create function pgsched.unlimit_queue(name text) returns boolean
language sql
set search_path = pg_catalog, pg_temp as $$
with changed as (
  update pgsched.queues q set limits = '{}', updated_at = now()
  where q.name = unlimit_queue.name and q.limits <> '{}'
  returning q.name
)
select exists (select from changed)
$$;

-- The rule that the limits of a queue break, or null.
-- limits: An object with concurrency, concurrency_per_key, rate, rate_per_key and per.
create function pgsched.limits_problem(limits jsonb) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp set standard_conforming_strings = 'on' as $$
#variable_conflict use_variable
-- The rule that limits of a queue break, or null.
declare
  name text;
  value jsonb;
begin
  if jsonb_typeof(limits) <> 'object' then
    return 'must be a JSON object, as {"concurrency": 3}';
  end if;
  for name, value in select * from jsonb_each(limits) loop
    if name in ('concurrency', 'concurrency_per_key', 'rate', 'rate_per_key') then
      if jsonb_typeof(value) <> 'number' or value::text !~ '^\d{1,7}$' or value::text::integer not between 1 and 1000000 then
        return format('%s must be a whole number between 1 and 1000000, got %s', name, left(value::text, 100));
      end if;
    elsif name = 'per' then
      begin
        if jsonb_typeof(value) <> 'string'
          or (value #>> '{}')::interval not between interval '100 milliseconds' and interval '31 days' then
          return format('per must be between 100 milliseconds and 31 days, got %s', left(value::text, 100));
        end if;
      exception when invalid_datetime_format or datetime_field_overflow or interval_field_overflow then
        return format('per must be an interval, as "1 second", got %s', left(value::text, 100));
      end;
      if not limits ?| array['rate', 'rate_per_key'] then
        return 'per is the time of a rate: it needs rate or rate_per_key';
      end if;
    else
      return format('%L is no limit; there are concurrency, concurrency_per_key, rate, rate_per_key and per', left(name, 100));
    end if;
  end loop;
  return null;
end $$;

-- For the schema: refuses limits of a queue that make no sense.
create function pgsched.check_limits() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  problem text := pgsched.limits_problem(new.limits);
begin
  if problem is not null then
    raise invalid_parameter_value using message = format('limits of queue %L: %s', new.name, problem),
      column = 'limits', table = 'queues', schema = 'pgsched';
  end if;
  new.limits_changed_at := clock_timestamp();
  return new;
end $$;

-- For the schema: tells every worker that the way to claim from a queue may have changed.
create function pgsched.announce_queue() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Tells every worker that the way to claim from a queue may have changed.
begin
  if tg_op <> 'DELETE' and new.limits ?| array['concurrency', 'concurrency_per_key'] then
    perform pgsched.adopt_slots(new.name);
  end if;
  perform pgsched.notify('pgsched_queues', case when tg_op = 'DELETE' then old.name else new.name end);
  return null;
end $$;

-- For the schema: wakes the workers of a queue that is resumed.
create function pgsched.unpause_queue() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.wake_sleepers(new.name, '-infinity');
  return new;
end $$;

-- For the schema: notes when a queue is no longer paused.
create function pgsched.note_resumed() returns trigger
language plpgsql as $$
#variable_conflict use_variable
begin
  new.resumed_at := now();
  return new;
end $$;

-- For the schema: notes when a queue is paused, and by whom.
create function pgsched.note_paused() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if not new.paused then
    new.paused_at := null;
    new.paused_by := null;
  elsif tg_op = 'INSERT' or not old.paused then
    new.paused_at := now();
    new.paused_by := coalesce(new.paused_by, session_user);
  end if;
  return new;
end $$;

-- For workers: whether a task may be claimed now, if a worker has a handler for it: it is due and enabled, and nobody
-- has a lease on it.
create function pgsched.is_claimable(task pgsched.tasks) returns boolean
language sql stable parallel safe as $$
  select task.next_run_at is not null and task.enabled and task.next_run_at <= now()
    and (task.locked_until is null or task.locked_until < now())
$$;

-- For workers: whether the transaction that locked a row (its xmax) ended without being committed.
create function pgsched.lock_was_lost(locker xid) returns boolean
language sql stable parallel safe as $$
  -- The low half of a number of 64 bits is known. What is not below the snapshot's next one is of the round before, or
  -- began after the snapshot. A status that is too old to be known counts as lost: the row is leased then.
  select case
    when locker = '0' then false
    when x.number - x.next between 0 and 2147483647 then coalesce(pg_xact_status(x.number::text::xid8) = 'aborted', false)
    when x.number < x.next then coalesce(pg_xact_status(x.number::text::xid8) = 'aborted', true)
    else coalesce(pg_xact_status((x.number - 4294967296)::text::xid8) = 'aborted', true) end
  from (
    select s.next, (s.next & -4294967296) | locker::text::bigint as number
    from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next) s) x
$$;

-- For workers: claims from several queues with limits or ageing, in their order, but for some tasks that it passes
-- over.
create function pgsched.claim_limited(
  queues text[], rooms integer[], room integer, most_bytes bigint, worker uuid, lease double precision,
  task_types text[], passed_over bigint[], looks_only boolean
) returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint
)
language plpgsql as $$
#variable_conflict use_variable
-- Claims from several queues that are claimed apart, in their order, up to so many rows of each and of all. For queues that
-- somebody else has locked it waits for a moment, together.
declare
  began constant timestamptz := clock_timestamp();
  answer record;
begin
  for place in 1..cardinality(queues) loop
    exit when most_bytes <= 0;
    for answer in
      select * from pgsched.claim_queue(
        queues[place], worker, lease, task_types, passed_over, least(rooms[place], room), most_bytes,
        clock_timestamp() < began + interval '20 milliseconds', looks_only)
    loop
      asked := answer.asked;
      again := answer.again;
      held_back := answer.held_back;
      noted := answer.noted;
      task := answer.task;
      lease_expired := answer.lease_expired;
      size := answer.size;
      if answer.size is not null then
        room := room - 1;
        most_bytes := most_bytes - answer.size;
      end if;
      return next;
    end loop;
  end loop;
end $$;

-- For workers: claims due rows of one queue with limits or ageing, as many as these allow; the last row says when to
-- ask again.
create function pgsched.claim_queue(
  name text, worker uuid, lease double precision, task_types text[], passed_over bigint[], room integer,
  most_bytes bigint, waits boolean, looks_only boolean
) returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint
)
language plpgsql as $$
#variable_conflict use_variable
-- Claims up to `room` due rows of one queue, and no more than its limits allow. Last comes a row without a task that says
-- when it makes sense to ask again: `again` in seconds (0: at once; null: when something becomes due), whether a limit of
-- concurrency holds rows back until others end, and as when the starts of this claim were noted. `waits`: for a moment, when
-- somebody else has locked the queue; null: it was asked a moment ago. `looks_only`: it claims nothing, and returns what it would.
declare
  queue pgsched.queues;
  moment timestamptz;
  span interval;
  horizon timestamptz;
  bucket interval;
  concurrency integer;
  per_key integer;
  rate integer;
  rate_per_key integer;
  free integer := room;
  full_up boolean := false;
  oldest timestamptz;
  number integer;
  ids bigint[];
  taken integer;
  locked bigint[];
  tokens integer;
  weighs boolean := false;
  picked integer;
  is_cut boolean := false;
begin
  asked := name;
  held_back := false;
  select * into queue from pgsched.queues q where q.name = claim_queue.name;
  if queue.apart then
    select * into queue from pgsched.queues q where q.name = claim_queue.name for no key update skip locked;
    if not found then
      -- Somebody else is claiming from it, and is done in a moment; or edits it, and takes as long as he likes.
      if not waits then
        again := 0.003;
        return next;
        return;
      end if;
      begin
        perform set_config('lock_timeout', '30ms', true);
        select * into queue from pgsched.queues q where q.name = claim_queue.name for no key update;
      exception when lock_not_available then
        again := 0.003;
        return next;
        return;
      end;
    end if;
  end if;
  if queue.paused then
    return next;
    return;
  end if;
  -- Not now(): the claim that held the row before this one began later than it was begun.
  moment := clock_timestamp();
  concurrency := (queue.limits ->> 'concurrency')::integer;
  per_key := (queue.limits ->> 'concurrency_per_key')::integer;
  rate := (queue.limits ->> 'rate')::integer;
  rate_per_key := (queue.limits ->> 'rate_per_key')::integer;

  if concurrency is not null or per_key is not null then
    if queue.limits_changed_at > moment - interval '2 seconds' then
      perform pgsched.adopt_slots(name);
    end if;
    delete from pgsched.slots s
    where s.queue = name and not exists (
      select from pgsched.tasks t
      where t.id = any(array[s.task_id]) and t.fencing_token = s.fencing_token and t.status = 'running'
        and t.locked_until >= now());
  end if;
  if concurrency is not null then
    select concurrency - count(*) into number from pgsched.slots s where s.queue = name;
    if number <= 0 then
      held_back := true;
      return next;
      return;
    end if;
    full_up := number <= free;
    free := least(free, number);
  end if;
  if rate is not null or rate_per_key is not null then
    span := make_interval(secs => extract(epoch from coalesce(queue.limits ->> 'per', '1 second')::interval));
    -- A handler begins some milliseconds after its claim, sooner or later: so much longer is the window.
    horizon := moment - greatest(span * 1.01, span + interval '10 milliseconds');
    bucket := span / 500;
    if random() < 0.01 then
      delete from pgsched.starts s where s.queue = name and s.at <= horizon;
    end if;
  end if;
  if rate is not null then
    delete from pgsched.starts s where s.queue = name and s.key = '' and s.at <= horizon;
    select rate - coalesce(sum(s.number), 0), min(s.at) into number, oldest
    from pgsched.starts s where s.queue = name and s.key = '' and s.at > horizon;
    if number <= 0 then
      again := extract(epoch from oldest - horizon);
      return next;
      return;
    end if;
    if number <= free then
      full_up := false;
      again := extract(epoch from coalesce(oldest, moment) - horizon);
    end if;
    free := least(free, number);
    tokens := number;
  end if;

  if room = 0 then
    -- Only to know whether there is something.
    again := case when exists (
      select from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types) and t.id <> all(passed_over)
        order by t.next_run_at
        limit 1) t) then 0 end;
    return next;
    return;
  end if;
  if per_key is not null or rate_per_key is not null then
    select p.ids, p.held_back into ids, held_back
    from pgsched.pick_keyed(
      name, task_types, passed_over, free, per_key, rate_per_key, horizon, queue.ageing, queue.ordering = 'lifo') p;
  elsif queue.ageing is not null then
    ids := array(
      select c.id
      from (
        select t.id, t.next_run_at,
          p.priority + floor(extract(epoch from now() - t.next_run_at) / extract(epoch from queue.ageing)) as weight
        from generate_series(10, 1, -1) as p(priority)
        cross join lateral (
          select t.id, t.next_run_at
          from pgsched.tasks t
          where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
            and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
            and t.task_type = any(task_types) and t.id <> all(passed_over)
          order by t.next_run_at, t.id
          limit free) t
      ) c
      order by c.weight desc, c.next_run_at, c.id
      limit free);
  elsif queue.ordering = 'lifo' then
    ids := array(
      select t.id
      from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select t.id
        from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types) and t.id <> all(passed_over)
        order by t.next_run_at desc, t.id desc
        limit free
        for no key update skip locked) t
      limit free);
  else
    ids := array(
      select t.id
      from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select t.id
        from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types) and t.id <> all(passed_over)
        order by t.next_run_at, t.id
        limit free
        for no key update skip locked) t
      limit free);
  end if;

  if (rate is not null or rate_per_key is not null) and cardinality(ids) > 0 then
    weighs := exists (select from pgsched.task_defaults d where d.cost is not null);
  end if;
  if weighs then
    -- In their order, until one costs more than is left. What costs more than a whole rate costs all of it.
    picked := cardinality(ids);
    ids := array(
      select o.id
      from (
        select k.id, k.place, sum(least(k.cost, rate)) over (order by k.place) as spent
        from (
          select c.id, c.place, c.key, c.cost,
            sum(least(c.cost, rate_per_key)) over (partition by c.key order by c.place) as spent_of_key
          from (
            select p.id, p.place, t.concurrency_key::text as key, pgsched.cost_of(t.task_type, name) as cost
            from unnest(ids) with ordinality as p(id, place)
            join pgsched.tasks t on t.id = any(array[p.id])
          ) c
        ) k
        where rate_per_key is null or k.key is null or k.spent_of_key <= rate_per_key - (
          select coalesce(sum(s.number), 0) from pgsched.starts s
          where s.queue = name and s.key = k.key and s.at > horizon)
      ) o
      where rate is null or o.spent <= tokens
      order by o.place);
    is_cut := cardinality(ids) < picked;
  end if;
  if looks_only then
    return query
    select name, null::double precision, null::boolean, null::timestamptz, t, false, 0::bigint
    from unnest(ids) with ordinality as p(id, place) join pgsched.tasks t on t.id = any(array[p.id])
    order by p.place;
    return next;
    return;
  end if;
  return query
  with fitting as materialized (
    -- As many as fit into so many bytes of payload, but one at least.
    select * from (
      select t.*, sum(t.bytes) over (order by p.place) - t.bytes as before
      from unnest(ids) with ordinality as p(id, place)
      cross join lateral (
        select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at,
          t.locked_by is null or t.unbegun_token is distinct from t.fencing_token as counts,
          case when pg_column_compression(t.payload) is null then pg_column_size(t.payload)
            else octet_length(t.payload::text) end as bytes
        from pgsched.tasks t
        where t.id = any(array[p.id]) and t.queue = name and t.next_run_at is not null and t.enabled
          and (t.locked_until is null or t.locked_until < now())
        for no key update skip locked) t
    ) f
    where f.before < most_bytes
  ),
  lost as (
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, error)
    select t.id, t.task_type, t.queue, f.attempts, f.fencing_token, t.scheduled_for, f.locked_by, 'lost',
      f.started_at, now(), extract(epoch from now() - f.started_at) * 1000,
      'the lease of worker ' || f.locked_by || ' ran out'
    from fitting f join pgsched.tasks t on t.id = any(array[f.id])
    where f.locked_by is not null and f.counts
  ),
  claimed as (
    update pgsched.tasks t
    set status = 'running', locked_by = claim_queue.worker, locked_until = now() + claim_queue.lease * interval '1 second',
      attempts = t.attempts + f.counts::integer, fencing_token = greatest(nextval('pgsched.fencing_tokens'), t.fencing_token + 1), started_at = now()
    from fitting f
    where t.id = any(array[f.id])
    returning t as task, t.id, t.fencing_token, coalesce(t.concurrency_key::text, '') as key, f.locked_by is not null as expired,
      f.bytes, case when weighs then pgsched.cost_of(t.task_type, name) else 1 end as cost
  ),
  occupied as (
    insert into pgsched.slots as s (queue, key, task_id, fencing_token)
    select name, c.key, c.id, c.fencing_token from claimed c
    where concurrency is not null or per_key is not null
    on conflict on constraint slots_pkey do update set fencing_token = excluded.fencing_token
  ),
  started as (
    insert into pgsched.starts as s (queue, key, since, at, number)
    select name, k.key, date_bin(bucket, moment, timestamptz '2000-01-01 00:00:00+00'), moment, k.number
    from (
      select '' as key, sum(least(c.cost, rate))::integer as number from claimed c
      where rate is not null having count(*) > 0
      union all
      select c.key, sum(least(c.cost, rate_per_key))::integer from claimed c
      where rate_per_key is not null and c.key <> '' group by c.key
    ) k
    on conflict on constraint starts_pkey do update
      set at = greatest(s.at, excluded.at), number = s.number + excluded.number
  )
  select name, null::double precision, null::boolean, null::timestamptz, c.task, c.expired, c.bytes::bigint from claimed c;
  get diagnostics taken = row_count;

  if taken < cardinality(ids) and waits is not null
    and (per_key is not null or rate_per_key is not null or queue.ageing is not null) then
    -- These were picked without a lock. What somebody else has locked must not be in the way of what comes behind it.
    locked := array(
      with near as materialized (
        (select t.id
         from pgsched.tasks t
         where t.queue = name and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
           and (t.locked_until is null or t.locked_until < now())
         order by t.priority desc, t.next_run_at, t.id
         limit 500)
        union
        select unnest(ids)
      )
      select n.id from near n
      where n.id not in (
        select t.id from pgsched.tasks t where t.id in (select o.id from near o) for no key update skip locked));
    if locked && ids then
      return query
      select * from pgsched.claim_queue(
        name, worker, lease, task_types, passed_over || locked, room - taken, most_bytes, null, looks_only);
      return;
    end if;
  end if;
  if taken < cardinality(ids) then
    again := 0;   -- others were in the way, or the payloads were large
    held_back := false;
  elsif is_cut then
    -- The next one costs more than is left: asked again when the first start leaves the window.
    select coalesce(extract(epoch from min(s.at) - horizon), 0) into again
    from pgsched.starts s where s.queue = name and s.at > horizon;
    held_back := false;
  elsif taken < free then
    again := null;
    if held_back and rate_per_key is not null then
      select extract(epoch from min(s.at) - horizon) into again
      from pgsched.starts s where s.queue = name and s.key > '' and s.at > horizon;
    end if;
    held_back := held_back and per_key is not null;
  else
    held_back := full_up;
    if not full_up then
      again := coalesce(again, 0);   -- there was room for no more
    end if;
  end if;
  if taken > 0 and (rate is not null or rate_per_key is not null) then
    noted := moment;
  end if;
  return next;
end $$;

-- For claims: for how many starts a task of a type counts in a queue with a rate, by its handler, else by the queue.
-- task_type: The type.
-- queue: The queue.
create function pgsched.cost_of(task_type text, queue text) returns integer
language sql stable as $$
select coalesce(
  (select d.cost from pgsched.task_defaults d where d.kind = 'handler' and d.name = cost_of.task_type),
  (select d.cost from pgsched.task_defaults d where d.kind = 'queue' and d.name = cost_of.queue), 1)
$$;

-- For workers: chooses due rows of a queue with limits per key; the keys take turns.
create function pgsched.pick_keyed(
  name text, task_types text[], passed_over bigint[], free integer, per_key integer, rate_per_key integer,
  horizon timestamptz, ageing interval, lifo boolean, out ids bigint[], out held_back boolean
) returns record
language plpgsql as $$
#variable_conflict use_variable
-- Up to `free` due rows of a queue with limits per key. The keys take turns, each claim begins after the key that was served
-- last. A row without a key has no limit of a key; all of them together take turns like one key.
declare
  few constant integer := 500;    -- so many due rows are looked through one by one
  step constant integer := 100;   -- keys that are looked at together
  longest constant integer := 1000;   -- keys that one claim looks at
  turn pgsched.turns;
  priorities smallint[];
  windowed integer;
  found_keys text[];
  keys text[] := '{}';
  rooms integer[] := '{}';
  keyless bigint[] := '{}';
  chunk text[];
  chunk_rooms integer[];
  looked_at integer := 0;
  visited text;
  wrapped boolean := false;
  last_place bigint;
begin
  ids := '{}';
  held_back := false;
  priorities := array(
    select p.priority
    from generate_series(10, 1, -1) as p(priority)
    cross join lateral (
      -- Ordered, so that it can be nothing but a probe of the index, whatever the statistics say.
      select from pgsched.tasks t
      where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now()
      order by t.next_run_at
      limit 1) t);
  if cardinality(priorities) = 0 then
    return;
  end if;
  select * into turn from pgsched.turns t where t.queue = name;
  turn.key := coalesce(turn.key, '');

  -- The first due rows. When they are all there are, their keys are all the keys that matter.
  select count(*), array_agg(distinct w.key) filter (where w.key is not null),
    coalesce((array_agg(w.id order by w.weight desc, w.turn, w.id) filter (where w.key is null))[1:free], '{}')
  into windowed, found_keys, keyless
  from (
    select d.id, d.concurrency_key as key, extract(epoch from d.next_run_at) * case when lifo then -1 else 1 end as turn,
      p.priority + coalesce(floor(extract(epoch from now() - d.next_run_at) / extract(epoch from ageing)), 0) as weight
    from unnest(priorities) as p(priority)
    cross join lateral (
      select t.id, t.concurrency_key::text, t.next_run_at
      from pgsched.tasks t
      where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
        and t.task_type = any(task_types) and t.id <> all(passed_over)
      order by t.next_run_at, t.id
      limit few
    ) d
    limit few
  ) w;
  if windowed = 0 then
    return;
  end if;

  if windowed < few then
    keys := array(select k from unnest(found_keys) k order by k <= turn.key, k);
    rooms := pgsched.key_rooms(name, keys, per_key, rate_per_key, horizon, free);
    visited := keys[cardinality(keys)];
  else
    visited := turn.key;
    loop
      chunk := pgsched.next_keys(name, visited, step);
      if wrapped then
        chunk := array(select k from unnest(chunk) k where k <= turn.key order by k);
      end if;
      looked_at := looked_at + cardinality(chunk);
      if cardinality(chunk) > 0 then
        chunk_rooms := pgsched.key_rooms(name, chunk, per_key, rate_per_key, horizon, free);
        select keys || coalesce(array_agg(c.key order by c.place), '{}'),
          rooms || coalesce(array_agg(c.room order by c.place), '{}')
        into keys, rooms
        from (
          select c.key, c.room, c.place from unnest(chunk, chunk_rooms) with ordinality as c(key, room, place)
          where c.room > 0 and exists (
            select from pgsched.due_by_keys(
              name, task_types, passed_over, array[c.key], array[1], priorities, ageing, lifo))
          limit free - cardinality(keys)) c;
        visited := chunk[cardinality(chunk)];
      end if;
      exit when cardinality(keys) >= free or looked_at >= longest;
      if cardinality(chunk) < step then
        exit when wrapped or turn.key = '';
        wrapped := true;
        visited := '';
      end if;
    end loop;
    if cardinality(keyless) = 0 then
      -- Rows without a key behind many that have one: each claim looks at the next thousand.
      with roamed as (
        select d.*, row_number() over () as place
        from unnest(priorities) as p(priority)
        cross join lateral (
          select t.priority::smallint, t.next_run_at::timestamptz, t.id,
            t.concurrency_key is null and (t.locked_until is null or t.locked_until < now())
              and t.task_type = any(task_types) and t.id <> all(passed_over) as fits
          from pgsched.tasks t
          where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
            and t.next_run_at <= now()
            and (t.next_run_at, t.id) > (
              case when p.priority = turn.roamed_priority then turn.roamed_at else '-infinity' end,
              case when p.priority = turn.roamed_priority then turn.roamed_id else 0 end)
          order by t.next_run_at, t.id
          limit 2 * few
        ) d
        where p.priority <= coalesce(turn.roamed_priority, 10)
        limit 2 * few
      )
      select (array_agg(r.id order by r.place) filter (where r.fits))[1:free],
        (array_agg(r.priority order by r.place desc))[1], (array_agg(r.next_run_at order by r.place desc))[1],
        (array_agg(r.id order by r.place desc))[1]
      into keyless, turn.roamed_priority, turn.roamed_at, turn.roamed_id
      from roamed r
      having count(*) = 2 * few or count(*) filter (where r.fits) > 0;
      keyless := coalesce(keyless, '{}');
    end if;
  end if;

  select coalesce(array_agg(c.id order by c.round, c.place), '{}'),
    (array_agg(c.place order by c.round desc, c.place desc) filter (where c.place > 0))[1]
  into ids, last_place
  from (
    select r.id, r.round, r.place
    from (
      select d.id, d.round, d.place
      from pgsched.due_by_keys(name, task_types, passed_over, keys, rooms, priorities, ageing, lifo) d
      union all
      select l.id, l.place, 0 from unnest(keyless) with ordinality as l(id, place)
    ) r
    order by r.round, r.place
    limit free
  ) c;
  held_back := cardinality(ids) < least(free, windowed);
  turn.queue := name;
  if windowed < few or cardinality(keys) >= free then
    visited := coalesce(keys[last_place], visited);
  end if;
  turn.key := coalesce(visited, turn.key);
  insert into pgsched.turns as t values (turn.*)
  on conflict (queue) do update set key = excluded.key, roamed_priority = excluded.roamed_priority,
    roamed_at = excluded.roamed_at, roamed_id = excluded.roamed_id;
end $$;

-- For workers: the due rows of some keys of a queue, of each as many as it has room for.
create function pgsched.due_by_keys(
  name text, task_types text[], passed_over bigint[], keys text[], rooms integer[], priorities smallint[],
  ageing interval, lifo boolean
) returns table (place bigint, id bigint, round bigint)
language sql stable rows 10 as $$
-- The due rows of some keys, of each key so many as it has room, the first one in round 1.
select k.place, c.id, row_number() over (partition by k.place order by c.weight desc, c.turn, c.id)
from unnest(due_by_keys.keys, due_by_keys.rooms) with ordinality as k(key, room, place)
cross join lateral (
  select f.id, f.weight, f.turn
  from (
    select t.id, extract(epoch from t.next_run_at) * case when due_by_keys.lifo then -1 else 1 end as turn,
      p.priority + coalesce(floor(extract(epoch from now() - t.next_run_at) / extract(epoch from due_by_keys.ageing)), 0) as weight
    from unnest(due_by_keys.priorities) as p(priority)
    cross join lateral (
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where not due_by_keys.lifo and t.queue = due_by_keys.name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(due_by_keys.task_types)
          and t.id <> all(due_by_keys.passed_over)
        order by t.next_run_at, t.id
        limit k.room) first_in
      union all
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where due_by_keys.lifo and t.queue = due_by_keys.name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(due_by_keys.task_types)
          and t.id <> all(due_by_keys.passed_over)
        order by t.next_run_at desc, t.id desc
        limit k.room) last_in
    ) t
  ) f
  order by f.weight desc, f.turn, f.id
  limit k.room
) c
$$;

-- For workers: the keys of a queue that come after one, due or not.
create function pgsched.next_keys(name text, after text, number integer) returns text[]
language sql stable as $$
-- The keys that come next, due or not: one step of the index each, however many rows a key has.
with recursive walk as (
  (select t.concurrency_key::text as key
   from pgsched.tasks t
   where t.queue = next_keys.name and t.concurrency_key > next_keys.after and t.next_run_at is not null and t.enabled
     and t.concurrency_key is not null
   order by t.concurrency_key
   limit 1)
  union all
  select (
    select t.concurrency_key::text
    from pgsched.tasks t
    where t.queue = next_keys.name and t.concurrency_key > walk.key and t.next_run_at is not null and t.enabled
      and t.concurrency_key is not null
    order by t.concurrency_key
    limit 1)
  from walk where walk.key is not null
)
select array(select w.key from walk w where w.key is not null limit next_keys.number)
$$;

-- For workers: how many rows of each key may start now.
create function pgsched.key_rooms(
  name text, keys text[], per_key integer, rate_per_key integer, horizon timestamptz, most integer
) returns integer[]
language sql stable as $$
-- How many rows of each key may start now. Dead slots were thrown away before.
select array_agg(
  greatest(0, least(most,
    per_key - (select count(*) from pgsched.slots s where s.queue = name and s.key = k.key),
    rate_per_key - (select coalesce(sum(s.number), 0) from pgsched.starts s
                    where s.queue = name and s.key = k.key and s.at > horizon)))::integer
  order by k.place)
from unnest(keys) with ordinality as k(key, place)
$$;

-- For workers: counts what runs of a queue already, from before it had limits.
create function pgsched.adopt_slots(name text) returns void
language sql as $$
-- What runs already, claimed before there were limits, counts too.
insert into pgsched.slots as s (queue, key, task_id, fencing_token)
select t.queue, coalesce(t.concurrency_key, ''), t.id, t.fencing_token
from pgsched.tasks t
where t.queue = adopt_slots.name and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
  and t.locked_until >= now()
on conflict (queue, key, task_id) do update set fencing_token = excluded.fencing_token
  where s.fencing_token <> excluded.fencing_token
$$;

-- For workers: starts that were counted at the claim happened later, so they count for longer.
create function pgsched.note_late_start(queue text, noted timestamptz, late double precision) returns void
language sql as $$
-- The starts of a claim that were noted as at `noted` happened up to so many seconds later: they count for longer.
update pgsched.starts s
set at = greatest(s.at, note_late_start.noted + late * interval '1 second')
where s.queue = note_late_start.queue and s.since = (
  select max(b.since) from pgsched.starts b where b.queue = note_late_start.queue and b.since <= note_late_start.noted)
$$;

-- Claims that fail ----------------------------------------------------------------------------------------------------
-- How a worker gets around rows that the database does not let it claim.

-- For workers: which of these tasks can be claimed, and what the database says to the others.
create function pgsched.try_claims(
  ids bigint[], worker uuid
) returns table (id bigint, task_type text, queue text, state text, message text)
language plpgsql as $$
-- Claims each of these tasks by itself and takes it back: `state` is the SQLSTATE that it failed with, or null. A task that
-- is not due, or is somebody else's by now, is not returned.
#variable_conflict use_variable
declare
  one bigint;
  tried bigint;
  dropped boolean;
begin
  -- What would fail at the commit fails here.
  set constraints all immediate;
  foreach one in array ids loop
    select t.id, t.task_type, t.queue into id, task_type, queue
    from pgsched.tasks t
    where t.id = one and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
      and (t.locked_until is null or t.locked_until < now());
    continue when not found;
    state := null;
    message := null;
    begin
      with due as (
        select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at,
          t.locked_by is null or t.unbegun_token is distinct from t.fencing_token as counts
        from pgsched.tasks t
        where t.id = one
        for no key update skip locked
      ),
      lost as (
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
          duration_ms, error)
        select t.id, t.task_type, t.queue, due.attempts, due.fencing_token, t.scheduled_for, due.locked_by, 'lost',
          due.started_at, now(), extract(epoch from now() - due.started_at) * 1000,
          'the lease of worker ' || due.locked_by || ' ran out'
        from due join pgsched.tasks t on t.id = due.id
        where due.locked_by is not null and due.counts
      ),
      claimed as (
        update pgsched.tasks t
        set status = 'running', locked_by = try_claims.worker, locked_until = now() + interval '1 minute',
          attempts = t.attempts + due.counts::integer, fencing_token = t.fencing_token + 1, started_at = now()
        from due
        where t.id = due.id
        returning date_part('epoch', now() - t.next_run_at) as late, octet_length(t.payload::text) as bytes
      )
      select max(c.bytes), count(*) < (select count(*) from due) into tried, dropped from claimed c where c.late is not null;
      if dropped then
        raise triggered_action_exception using message = 'the update was dropped: a trigger of the table returns null for the row';
      end if;
      raise exception 'taken back' using errcode = 'PGSCH';
    exception
      when sqlstate 'PGSCH' then
        null;
      when others or assert_failure or query_canceled then
        get stacked diagnostics state = returned_sqlstate, message = message_text;
    end;
    return next;
  end loop;
end $$;

-- For workers: ends due tasks that the database lets nobody claim as dead, where that can be written.
create function pgsched.bury_unclaimed(
  ids bigint[], errors text[]
) returns table (id bigint, attempts integer, refused text)
language plpgsql as $$
-- Ends due tasks that cannot be claimed as dead, each by itself: `refused` is why one cannot be ended either, or null. A task
-- that is not due, or is somebody else's by now, is not returned.
#variable_conflict use_variable
declare
  task pgsched.tasks;
  noted boolean;
begin
  set constraints all immediate;
  for place in 1..cardinality(ids) loop
    -- Once more without the attempt that was lost, should that be what is refused.
    foreach noted in array array[true, false] loop
      begin
        refused := null;
        select * into task
        from pgsched.tasks t
        where t.id = ids[place] and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now())
        for no key update skip locked;
        exit when not found;
        id := task.id;
        attempts := task.attempts;
        if noted and task.locked_by is not null and task.unbegun_token is distinct from task.fencing_token then
          insert into pgsched.executions (
            task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
            duration_ms, error)
          values (
            task.id, task.task_type, task.queue, task.attempts, task.fencing_token, task.scheduled_for, task.locked_by, 'lost',
            task.started_at, now(), extract(epoch from now() - task.started_at) * 1000,
            'the lease of worker ' || task.locked_by || ' ran out');
        end if;
        update pgsched.tasks t
        set status = 'dead', died_at = now(), next_run_at = null, completed_at = null, locked_by = null,
          locked_until = null, last_error = errors[place], updated_at = now()
        where t.id = task.id;
        if not found then
          raise triggered_action_exception using message = 'a trigger of the table drops that update, too';
        end if;
        if task.observed then
          perform pgsched.settle(array[task.id]);
        end if;
        if exists (select from pgsched.queues q where q.name = task.queue and q.events) then
          perform pgsched.notify('pgsched_events', json_build_object(
            'event', 'dead', 'id', task.id, 'task_type', task.task_type, 'queue', task.queue, 'attempt', task.attempts,
            'at', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'duration', null,
            'error', left(split_part(errors[place], e'\n', 1), 500))::text);
        end if;
      exception
        when others or assert_failure then
          get stacked diagnostics refused = message_text;
      end;
      exit when refused is null or task.locked_by is null;
    end loop;
    if task.id is not null then
      return next;
    end if;
  end loop;
end $$;

-- For workers: cancels tasks that have not started by their expires_at, those that expired first; returns how many.
create function pgsched.expire_tasks(most integer default 1000) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What a worker claims it judges itself; here is what none does: of a queue that nobody serves or that is paused, of an
-- unknown type, blocked, paused. What somebody has locked is about to run, or comes the next time.
declare
  task pgsched.tasks;
  observed bigint[] := '{}';
  number integer := 0;
  reason text;
begin
  for task in
    select t.* from pgsched.tasks t
    where t.expires_at <= now() and t.completed_at is null and t.died_at is null
      and t.status in ('pending', 'blocked') and t.fired is null and t.attempts = 0 and t.last_run_at is null
    order by t.expires_at limit most
    for no key update skip locked
  loop
    reason := format('expired: it had not started by %s',
      to_char(task.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'));
    task.fencing_token := greatest(nextval('pgsched.fencing_tokens'), task.fencing_token + 1);
    update pgsched.tasks t
    set status = 'cancelled', next_run_at = null, completed_at = now(), last_run_at = now(), last_error = reason,
      fencing_token = task.fencing_token, waiting_for = 0, updated_at = now()
    where t.id = task.id;
    delete from pgsched.dependencies d where d.task_id = task.id;
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, status, started_at, finished_at, duration_ms, error)
    values (task.id, task.task_type, task.queue, 1, task.fencing_token, task.scheduled_for, 'cancelled', now(), now(), 0, reason);
    perform pgsched.tell_cancelled(task);
    if task.observed then
      observed := observed || task.id;
    end if;
    number := number + 1;
  end loop;
  if cardinality(observed) > 0 then
    perform pgsched.settle(observed);
  end if;
  return number;
end $$;

-- Retention -----------------------------------------------------------------------------------------------------------
-- The history is dropped by whole days; finished tasks are deleted in small batches, or on completion.

-- For workers: deletes those of these tasks that are completed and leave with it, writes their history, and returns
-- their ids.
create function pgsched.leave(
  worker uuid, ids bigint[], tokens bigint[], started_ago double precision[], seconds double precision[],
  results text[], leased boolean
) returns setof bigint
language plpgsql security definer rows 100
set plan_cache_mode = 'force_generic_plan' set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Deletes those of these completed tasks that leave, and writes their history, behind the same fence as a finish. All others
-- are left to it: what has a parent or is waited for, because somebody still asks for it, and what another session has locked,
-- as one does that inserts a task which depends on it: a delete would wait for it. So a leased row is locked first; a row that
-- only this transaction has locked already has its number. Where a trigger or a foreign key of the users' hangs on updates or
-- deletes of tasks, nothing leaves here: it sees each task completed first, and deleted by retention.
declare
  ours constant xid := pg_current_xact_id()::xid;
  by_default boolean;
  leaving text[];
  staying text[];
begin
  if exists (
    select from pg_trigger g
    join pg_proc p on p.oid = g.tgfoid
    where g.tgrelid = 'pgsched.tasks'::regclass and g.tgtype & 24 <> 0 and g.tgenabled <> 'D'
      and p.pronamespace <> 'pgsched'::regnamespace) then
    return;
  end if;
  by_default := coalesce((select s.retention = '0' and not s.archive from pgsched.settings s), false);
  leaving := array(
    select q.name::text from pgsched.queues q
    where q.retention = '0' and not coalesce(q.archive, (select s.archive from pgsched.settings s), false));
  if by_default then
    staying := array(
      select q.name::text from pgsched.queues q where coalesce(q.retention <> '0', false) or coalesce(q.archive, false));
  end if;
  return query
    with free as (
      select d.*
      from unnest(ids, tokens, started_ago, seconds, results) as d(id, token, started_ago, seconds, result)
      where not leased
      union all
      select d.*
      from unnest(ids, tokens, started_ago, seconds, results) as d(id, token, started_ago, seconds, result)
      cross join lateral (
        select from pgsched.tasks t
        where leased and t.id = any(array[d.id]) and t.status = 'running' and t.locked_by = worker
          and t.fencing_token = d.token and t.parent_id is null and not t.observed
          and (t.queue = any(leaving) or by_default and t.queue <> all(staying))
        for update skip locked
      ) held
    ),
    gone as (
      delete from pgsched.tasks t
      using free d
      where t.id = any(array[d.id])
        and case when leased then t.status = 'running' and t.fencing_token = d.token
          else t.status = 'pending' and t.xmax = ours end
        and t.schedule_type = 'one_time' and t.parent_id is null and not t.observed and t.fired is null
        and (t.queue = any(leaving) or by_default and t.queue <> all(staying))
      returning t.id, t.task_type, t.queue, t.attempts + (not leased)::integer as attempt, d.token, t.scheduled_for,
        statement_timestamp() - d.started_ago * interval '1 second' as started_at, d.seconds, d.result,
        pgsched.remember(t) as task
    ),
    history as (
      insert into pgsched.executions (
        task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
        duration_ms, result, task)
      select g.id, g.task_type, g.queue, g.attempt, g.token, g.scheduled_for, worker, 'completed', g.started_at,
        g.started_at + g.seconds * interval '1 second', g.seconds * 1000, g.result::jsonb, g.task
      from gone g
    )
    select g.id from gone g;
end $$;

-- For workers: what the history keeps of a task that leaves, beside defaults and its own columns.
create function pgsched.remember(task pgsched.tasks) returns jsonb
language sql stable as $$
  -- The common cases first: nothing, or a payload. What is null in a payload stays.
  select case
    when task.task_name is null and task.metadata = '{}' and task.tags = '{}' and task.created_at = task.scheduled_for
      and task.planned_from = task.created_at
      and task.inserted_by = session_user and task.parent_id is null and task.progress is null
      and task.depends_on = '{}' and task.idempotency_key is null and task.concurrency_key is null
      and task.tenant_id is null and task.user_id is null and task.created_by is null
      and task.priority = 5 and task.max_attempts = 3 and task.timeout is null and task.jitter is null
      and task.backoff = 'exponential' and task.backoff_delay = '5 seconds' and task.backoff_max = '1 hour'
      and task.backoff_factor is null and task.backoff_jitter is null and task.timezone = 'UTC'
      and task.start_date is null and task.end_date is null and task.catchup_window is null
      and task.on_missed = 'once' and task.overlap = 'skip' and task.enabled
      and task.alert_if_no_success_for is null and task.alert_if_running_for is null and task.expires_at is null
      and task.on_dependency_dead = 'cancel' and task.dependency_mode = 'all' and task.revision = 0
      and task.execution_count <= 1 and task.fired is null
      then case when task.payload = '{}' then '{}' else jsonb_build_object('payload', task.payload) end
    else jsonb_strip_nulls(jsonb_build_object(
      'task_name', task.task_name, 'tags', nullif(task.tags, '{}'),
      'created_at', nullif(task.created_at, task.scheduled_for),
      'planned_from', nullif(task.planned_from, task.created_at),
      'inserted_by', nullif(task.inserted_by, session_user), 'parent_id', task.parent_id,
      'depends_on', nullif(task.depends_on, '{}'), 'idempotency_key', task.idempotency_key,
      'concurrency_key', task.concurrency_key, 'tenant_id', task.tenant_id, 'user_id', task.user_id,
      'created_by', task.created_by, 'priority', nullif(task.priority, 5), 'max_attempts', nullif(task.max_attempts, 3),
      'timeout', task.timeout, 'jitter', task.jitter, 'backoff', nullif(task.backoff, 'exponential'),
      'backoff_delay', nullif(task.backoff_delay, '5 seconds'), 'backoff_max', nullif(task.backoff_max, '1 hour'),
      'backoff_factor', task.backoff_factor, 'backoff_jitter', task.backoff_jitter,
      'timezone', nullif(task.timezone, 'UTC'), 'start_date', task.start_date, 'end_date', task.end_date,
      'catchup_window', task.catchup_window, 'on_missed', nullif(task.on_missed, 'once'),
      'overlap', nullif(task.overlap, 'skip'), 'enabled', nullif(task.enabled, true),
      'alert_if_no_success_for', task.alert_if_no_success_for, 'alert_if_running_for', task.alert_if_running_for,
      'expires_at', task.expires_at,
      'on_dependency_dead', nullif(task.on_dependency_dead, 'cancel'),
      'dependency_mode', nullif(task.dependency_mode, 'all'), 'revision', nullif(task.revision, 0),
      'execution_count', nullif(greatest(task.execution_count, 1), 1), 'fired', task.fired))
      || case when task.payload = '{}' then '{}' else jsonb_build_object('payload', task.payload) end
      || case when task.metadata = '{}' then '{}' else jsonb_build_object('metadata', task.metadata) end
      || case when task.progress is null then '{}' else jsonb_build_object('progress', task.progress) end
  end
$$;

-- How long finished and dead tasks of each queue that has some are kept, and how many.
create function pgsched.retention_rules(
) returns table (queue text, dead boolean, older_than interval, keep integer, archive boolean)
language sql stable
set search_path = pg_catalog, pg_temp as $$
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

-- For workers: locks the next finished tasks of a queue that nobody needs any more. Returns how many it looked at (null
-- while somebody else prunes), where it stopped, and their ids.
create function pgsched.pick_prunable(
  queue text, dead boolean, from_at timestamptz, from_id bigint, to_at timestamptz, to_id bigint, most integer,
  out looked integer, out last_at timestamptz, out last_id bigint, out ids bigint[]
) returns record
language plpgsql security definer
set enable_seqscan = 'off' set enable_bitmapscan = 'off' set jit = 'off' set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
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

-- For workers: deletes the tasks of these that are completed, cancelled or dead, to the archive if that is said.
-- Returns how many of each, how many something else keeps, and what.
create function pgsched.prune_finished(
  ids bigint[], archive boolean, out completed integer, out cancelled integer, out dead integer, out kept integer,
  out refusal text
) returns record
language plpgsql security definer
set enable_seqscan = 'off' set enable_bitmapscan = 'off' set jit = 'off' set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  remembered bigint[];
begin
  -- A crash may bring the last ones back, and they are deleted again.
  perform set_config('synchronous_commit', 'off', true);
  -- Where tasks leave when they are completed, what had to stay for a while is remembered, too.
  remembered := array(
    select t.id
    from pgsched.tasks t
    left join pgsched.queues q on q.name = t.queue
    left join pgsched.settings s on true
    where t.id = any(ids) and t.status = 'completed' and t.schedule_type = 'one_time'
      and coalesce(q.retention, s.retention) = '0');
  if cardinality(remembered) > 0 then
    update pgsched.executions e
    set task = pgsched.remember(t)
    from pgsched.tasks t
    where t.id = any(remembered) and e.task_id = t.id and e.fencing_token = t.fencing_token
      and e.started_at = t.last_run_at and e.status = 'completed' and e.task is null;
  end if;
  select count(*) filter (where d.refusal is null and d.status = 'completed'),
    count(*) filter (where d.refusal is null and d.status = 'cancelled'),
    count(*) filter (where d.refusal is null and d.status = 'dead'),
    cardinality(ids) - count(*) filter (where d.refusal is null), min(d.refusal)
  into completed, cancelled, dead, kept, refusal
  from pgsched.delete_apart(ids, array['completed', 'cancelled', 'dead'], archive) d;
end $$;

-- For the schema: deletes tasks that have one of these statuses; what a foreign key or a trigger of others keeps stays,
-- with the reason.
create function pgsched.delete_apart(
  ids bigint[], statuses text[], archive boolean default false
) returns table (id bigint, status text, refusal text)
language plpgsql as $$
-- Deletes tasks, all at once if that can be, else in halves until those are found that something of the users' holds: a
-- foreign key, a trigger. Those stay, each with the reason; so do the rest once so many have been found one by one, in
-- another order each time. What is not about a row is raised.
#variable_conflict use_variable
declare
  todo int8range[];
  span int8range;
  part bigint[];
  gone bigint[];
  were text[];
  held bigint[] := '{}';
  reference record;
  columns text;
  tries integer := 100;
begin
  ids := array(select distinct i from unnest(ids) i);
  -- What foreign keys hold is mostly found by one look for each.
  for reference in
    select k.conrelid::regclass::text as name, a.attname
    from pg_constraint k
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
    where k.contype = 'f' and k.confrelid = 'pgsched.tasks'::regclass and k.conrelid <> k.confrelid
      and k.confdeltype in ('a', 'r') and cardinality(k.conkey) = 1 and k.conparentid = 0
  loop
    begin
      execute format('select array(select distinct r.%I from %s r where r.%I = any ($1))',
        reference.attname, reference.name, reference.attname)
      into part using ids;
      held := held || part;
      return query
        select t.id, t.status::text, format('%s references it', reference.name)
        from pgsched.tasks t where t.id = any(part);
    exception
      when insufficient_privilege then null;  -- so they are found one by one
    end;
  end loop;
  ids := array(select i from unnest(ids) i except select h from unnest(held) h);
  ids := array(select i from unnest(ids) i order by random());
  if archive then
    select string_agg(quote_ident(t.attname), ', ' order by t.attnum) into columns
    from pg_attribute t
    join pg_attribute a on a.attname = t.attname and a.atttypid = t.atttypid
    where t.attrelid = 'pgsched.tasks'::regclass and a.attrelid = 'pgsched.archived_tasks'::regclass
      and t.attnum > 0 and a.attnum > 1 and not t.attisdropped and a.attgenerated = '' and a.attidentity = '';
  end if;
  todo := array[int8range(1, cardinality(ids) + 1)];
  while cardinality(todo) > 0 loop
    span := todo[cardinality(todo)];
    todo := trim_array(todo, 1);
    continue when isempty(span);
    part := ids[lower(span):upper(span) - 1];
    begin
      if archive then
        execute format(
          'with gone as (delete from pgsched.tasks t where t.id = any ($1) and t.status = any ($2) returning t.*),
            kept as (insert into pgsched.archived_tasks (%s) select %s from gone)
          select array_agg(g.id order by g.id), array_agg(g.status::text order by g.id) from gone g', columns, columns)
        into gone, were using part, statuses;
      else
        with deleted as (
          delete from pgsched.tasks t where t.id = any(part) and t.status = any(statuses) returning t.id, t.status)
        select array_agg(d.id order by d.id), array_agg(d.status::text order by d.id) into gone, were from deleted d;
      end if;
      set constraints all immediate;  -- a foreign key may be deferred to the commit
      return query select g.id, g.status, null::text from unnest(gone, were) as g(id, status);
      return query
        select t.id, t.status::text, 'a trigger keeps it'
        from pgsched.tasks t where t.id = any(part) and t.status = any(statuses);
    exception
      when others then
        if left(sqlstate, 2) in ('08', '25', '40', '53', '55', '57', '58', 'XX') then
          raise;
        end if;
        if cardinality(part) > 1 then
          todo := todo || int8range(lower(span), (lower(span) + upper(span)) / 2)
            || int8range((lower(span) + upper(span)) / 2, upper(span));
        else
          tries := tries - 1;
          return query select t.id, t.status::text, sqlerrm from pgsched.tasks t where t.id = any(part);
        end if;
    end;
    exit when tries = 0;
  end loop;
end $$;

-- The partitions of the history whose time was over by then, the oldest first.
create function pgsched.history_days(
  ended_before timestamptz
) returns table (parent text, part text, begins timestamptz, ends timestamptz, bytes bigint)
language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
  set standard_conforming_strings = 'on' as $$
-- The partitions of the history whose time was over by then, the oldest first. Their bounds are text: written and read in UTC.
select d.parent, d.part, d.bounds[1]::timestamptz, d.bounds[2]::timestamptz, pg_total_relation_size(d.id)
from (
  select i.inhrelid as id, p.relname::text as parent, c.relname::text as part,
    regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') as bounds
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  join pg_class p on p.oid = i.inhparent
  where p.relnamespace = 'pgsched'::regnamespace and p.relname in ('executions', 'execution_logs', 'missed_ticks', 'durable_steps')
) d
where d.bounds is not null and d.bounds[2]::timestamptz <= ended_before
order by d.bounds[2]::timestamptz, d.part
$$;

-- Makes the daily partitions of the history ahead of time; returns how many were made. Workers call it by themselves.
-- days_ahead: From today, in UTC, so many days on.
create function pgsched.make_partitions(days_ahead integer default 7) returns integer
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

-- For workers: drops a partition of the history whose time was over by then. False: somebody works with the history,
-- try again.
create function pgsched.drop_history(part text, ended_before timestamptz) returns boolean
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

-- For operators: lets nothing more into a partition of the history that was over by then, until the transaction ends.
create function pgsched.hold_history(part text, ended_before timestamptz) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
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

-- For workers: deletes rows of the history from before then that are in no partition of a day, up to so many of each
-- kind.
create function pgsched.prune_history(before timestamptz, most integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The history that no partition was made for in time: up to so many rows of the default partitions. And where workers ran that
-- were gone by then.
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
  number := number + gone;
  delete from pgsched.durable_steps_default where ctid = any(array(
    select s.ctid from pgsched.durable_steps_default s
    where s.began_at < before and not exists (
      select from pgsched.durable_runs r join pgsched.tasks t on t.id = r.task_id and t.completed_at is null
      where r.task_id = s.task_id and r.began_at = s.began_at)
    limit most));
  get diagnostics gone = row_count;
  number := number + gone;
  delete from pgsched.durable_events where ctid = any(array(
    select e.ctid from pgsched.durable_events e
    where e.sent_at < before
      and not exists (select from pgsched.tasks t where t.id = e.task_id and t.completed_at is null and t.execution_count < e.tick_number)
    limit most));
  get diagnostics gone = row_count;
  delete from pgsched.durable_runs where ctid = any(array(
    select r.ctid from pgsched.durable_runs r
    where r.began_at < before
      and not exists (select from pgsched.tasks t where t.id = r.task_id and (t.completed_at is null or t.status = 'cancelled'))
    limit most));
  update pgsched.worker_hosts h set last_seen = now()
  where h.last_seen < now() - interval '1 hour' and h.id in (select w.id from pgsched.workers w);
  delete from pgsched.worker_hosts h
  where h.last_seen < before and h.id not in (select w.id from pgsched.workers w);
  return number + gone;
end $$;

-- For the schema: asks a worker to pause or drain; null: to work. True if that was not asked already, null if no such
-- worker is registered.
create function pgsched.ask_worker(worker uuid, request text, requested_by text default null) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  found_worker pgsched.workers;
begin
  select * into found_worker from pgsched.workers w where w.id = worker;
  if not found then
    return null;
  end if;
  if found_worker.state is null then
    raise object_not_in_prerequisite_state using
      message = format('worker %s takes no requests: it runs an older version of pgsched', worker);
  end if;
  if found_worker.request is not distinct from request then
    return false;
  end if;
  update pgsched.workers w
  set request = ask_worker.request,
    requested_by = case when ask_worker.request is not null then coalesce(ask_worker.requested_by, session_user) end,
    requested_at = case when ask_worker.request is not null then now() end
  where w.id = worker;
  perform pgsched.notify('pgsched_workers', worker::text);
  return true;
end $$;

-- Asks a worker to claim nothing more until it is resumed; what it has is run. True if that was not asked already, null
-- if no such worker is registered.
-- worker: Its id in pgsched.workers.
-- requested_by: Who asks, for people; the database role when left out.
create function pgsched.pause_worker(worker uuid, requested_by text default null) returns boolean
language sql as $$ select pgsched.ask_worker(worker, 'pause', requested_by) $$;

-- Asks a worker to claim nothing more, finish what it has, and exit with code 0. True if that was not asked already,
-- null if no such worker is registered.
-- worker: Its id in pgsched.workers.
-- requested_by: Who asks, for people; the database role when left out.
create function pgsched.drain_worker(worker uuid, requested_by text default null) returns boolean
language sql as $$ select pgsched.ask_worker(worker, 'drain', requested_by) $$;

-- Lets a worker that was paused, or drains and has not ended, claim again. True if it was, null if no such worker is
-- registered.
-- worker: Its id in pgsched.workers.
-- requested_by: Who asks, for people.
create function pgsched.resume_worker(worker uuid, requested_by text default null) returns boolean
language sql as $$ select pgsched.ask_worker(worker, null, requested_by) $$;

-- For the schema: keeps where a worker runs beyond its end.
create function pgsched.note_worker() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- By a trigger, so that workers of earlier releases are noted, too. A heartbeat is an UPDATE, and fires it not.
begin
  if tg_op = 'DELETE' then
    update pgsched.worker_hosts h set last_seen = now() where h.id = old.id;
  else
    insert into pgsched.worker_hosts as h (id, hostname, pid, started_at)
    values (new.id, new.hostname, new.pid, new.started_at)
    on conflict (id) do update set last_seen = now();
  end if;
  return null;
end $$;

-- Statistics of the history -------------------------------------------------------------------------------------------
-- Upkeep counts the history once; queries read the sums.

-- What ended of each type: throughput, share of failures, quantiles of run and wait in seconds (at most 9 % off). Read
-- from counts that upkeep keeps; nothing is counted now.
-- within: How long back, at least 5 minutes; the last bucket is the one under way.
-- ago: The same time so long before: '1 day' is yesterday.
-- task_type: Only this type.
-- queue: Only of this queue.
create function pgsched.type_stats(
  within interval default '01:00:00'::interval, ago interval default '00:00:00'::interval, task_type text default null,
  queue text default null
) returns table (
  type text, processed bigint, completed bigint, failed bigint, timed_out bigint, cancelled bigint, lost bigint,
  snoozed bigint, per_second double precision, failed_share double precision, run_mean double precision,
  run_p50 double precision, run_p95 double precision, run_p99 double precision, run_max double precision,
  wait_mean double precision, wait_p50 double precision, wait_p95 double precision, wait_p99 double precision,
  wait_max double precision
)
language sql stable rows 100
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
  with part as materialized (
    select c.*, w.covers from pgsched.counted_window(within, ago) w
    join pgsched.type_counts c on c.seconds = w.seconds and c.bucket >= w.since and c.bucket < w.until
    where (type_stats.task_type is null or c.task_type = type_stats.task_type)
      and (type_stats.queue is null or c.queue = type_stats.queue)
  ),
  runs as (
    select r.task_type, array_agg(r.bin::integer) as bins, array_agg(r.number) as counts
    from (
      select p.task_type, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.run_bins, p.run_counts) u(bin, number) group by 1, 2) r
    group by 1
  ),
  waits as (
    select r.task_type, array_agg(r.bin::integer) as bins, array_agg(r.number) as counts, sum(r.number) as number
    from (
      select p.task_type, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.wait_bins, p.wait_counts) u(bin, number) group by 1, 2) r
    group by 1
  )
  select s.task_type, s.processed, s.completed, s.failed, s.timed_out, s.cancelled, s.lost, s.snoozed,
    s.processed / nullif(s.covers, 0), s.bad / nullif(s.processed, 0)::double precision,
    s.run_seconds / nullif(s.ran, 0),
    pgsched.bin_quantile(r.bins, r.counts, 0.5, s.run_max), pgsched.bin_quantile(r.bins, r.counts, 0.95, s.run_max),
    pgsched.bin_quantile(r.bins, r.counts, 0.99, s.run_max), s.run_max,
    s.wait_seconds / nullif(w.number, 0)::double precision,
    pgsched.bin_quantile(w.bins, w.counts, 0.5, s.wait_max), pgsched.bin_quantile(w.bins, w.counts, 0.95, s.wait_max),
    pgsched.bin_quantile(w.bins, w.counts, 0.99, s.wait_max), s.wait_max
  from (
    select p.task_type, sum(p.completed + p.failed + p.timed_out + p.cancelled + p.lost)::bigint as processed,
      sum(p.completed)::bigint as completed, sum(p.failed)::bigint as failed, sum(p.timed_out)::bigint as timed_out,
      sum(p.cancelled)::bigint as cancelled, sum(p.lost)::bigint as lost, sum(p.snoozed)::bigint as snoozed,
      sum(p.failed + p.timed_out + p.lost)::bigint as bad, sum(p.completed + p.failed + p.timed_out)::bigint as ran,
      max(p.covers) as covers, sum(p.run_seconds) as run_seconds, max(p.run_max) as run_max,
      sum(p.wait_seconds) as wait_seconds, max(p.wait_max) as wait_max
    from part p group by p.task_type) s
  left join runs r using (task_type)
  left join waits w using (task_type)
  order by s.processed desc, s.task_type
$$;

-- What ended of a type, bucket by bucket, those in which nothing did, too.
-- task_type: The type; null: all of them.
-- within: How long back.
-- ago: The same time so long before.
-- queue: Only of this queue.
create function pgsched.type_history(
  task_type text, within interval default '01:00:00'::interval, ago interval default '00:00:00'::interval,
  queue text default null
) returns table (
  at timestamptz, completed bigint, failed bigint, timed_out bigint, cancelled bigint, lost bigint, snoozed bigint,
  run_p50 double precision, run_p95 double precision, run_p99 double precision, wait_p50 double precision,
  wait_p95 double precision, wait_p99 double precision
)
language sql stable rows 100
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
  with time as (select * from pgsched.counted_window(within, ago)),
  part as materialized (
    select c.* from time w
    join pgsched.type_counts c on c.seconds = w.seconds and c.bucket >= w.since and c.bucket < w.until
    where (type_history.task_type is null or c.task_type = type_history.task_type)
      and (type_history.queue is null or c.queue = type_history.queue)
  ),
  runs as (
    select r.bucket, array_agg(r.bin::integer) as bins, array_agg(r.number) as counts
    from (
      select p.bucket, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.run_bins, p.run_counts) u(bin, number) group by 1, 2) r
    group by 1
  ),
  waits as (
    select r.bucket, array_agg(r.bin::integer) as bins, array_agg(r.number) as counts
    from (
      select p.bucket, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.wait_bins, p.wait_counts) u(bin, number) group by 1, 2) r
    group by 1
  )
  select b.at, coalesce(s.completed, 0), coalesce(s.failed, 0), coalesce(s.timed_out, 0), coalesce(s.cancelled, 0),
    coalesce(s.lost, 0), coalesce(s.snoozed, 0),
    pgsched.bin_quantile(r.bins, r.counts, 0.5, s.run_max), pgsched.bin_quantile(r.bins, r.counts, 0.95, s.run_max),
    pgsched.bin_quantile(r.bins, r.counts, 0.99, s.run_max),
    pgsched.bin_quantile(w.bins, w.counts, 0.5, s.wait_max), pgsched.bin_quantile(w.bins, w.counts, 0.95, s.wait_max),
    pgsched.bin_quantile(w.bins, w.counts, 0.99, s.wait_max)
  from time t
  cross join lateral generate_series(t.since, t.until - interval '1 second', t.seconds * interval '1 second') b(at)
  left join (
    select p.bucket, sum(p.completed)::bigint as completed, sum(p.failed)::bigint as failed,
      sum(p.timed_out)::bigint as timed_out, sum(p.cancelled)::bigint as cancelled, sum(p.lost)::bigint as lost,
      sum(p.snoozed)::bigint as snoozed, max(p.run_max) as run_max, max(p.wait_max) as wait_max
    from part p group by p.bucket) s on s.bucket = b.at
  left join runs r on r.bucket = b.at
  left join waits w on w.bucket = b.at
  order by b.at
$$;

-- How long attempts at a type ran and waited: how many in each of the bins that are not empty; bounds are seconds.
-- task_type: The type; null: all of them.
-- within: How long back.
-- ago: The same time so long before.
-- queue: Only of this queue.
create function pgsched.type_histogram(
  task_type text, within interval default '01:00:00'::interval, ago interval default '00:00:00'::interval,
  queue text default null
) returns table (longer_than double precision, up_to double precision, runs bigint, waits bigint)
language sql stable rows 50
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
  with part as materialized (
    select c.* from pgsched.counted_window(within, ago) w
    join pgsched.type_counts c on c.seconds = w.seconds and c.bucket >= w.since and c.bucket < w.until
    where (type_histogram.task_type is null or c.task_type = type_histogram.task_type)
      and (type_histogram.queue is null or c.queue = type_histogram.queue)
  )
  select pgsched.bin_seconds(b.bin - 1), pgsched.bin_seconds(b.bin), sum(b.runs)::bigint, sum(b.waits)::bigint
  from (
    select u.bin, u.number as runs, 0 as waits from part p cross join lateral unnest(p.run_bins, p.run_counts) u(bin, number)
    union all
    select u.bin, 0, u.number from part p cross join lateral unnest(p.wait_bins, p.wait_counts) u(bin, number)) b
  group by b.bin
  order by b.bin
$$;

-- With which errors attempts failed, grouped: how often, since when, of which types, queues and versions, and a task of
-- each. Read from counts that upkeep keeps.
-- within: How long back.
-- ago: The same time so long before.
-- task_type: Only of this type.
-- queue: Only of this queue.
-- fingerprint: Only this group.
create function pgsched.error_stats(
  within interval default '1 day'::interval, ago interval default '00:00:00'::interval, task_type text default null,
  queue text default null, fingerprint text default null
) returns table (
  id text, exception text, message text, number bigint, first_seen timestamptz, last_seen timestamptz,
  task_types text[], queues text[], versions text[], task_id bigint, trend bigint[]
)
language sql stable rows 100
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
  with time as materialized (select * from pgsched.counted_window(within, ago)),
  part as materialized (
    select c.* from time w
    join pgsched.error_counts c on c.seconds = w.seconds and c.bucket >= w.since and c.bucket < w.until
    where (error_stats.task_type is null or c.task_type = error_stats.task_type)
      and (error_stats.queue is null or c.queue = error_stats.queue)
      and (error_stats.fingerprint is null or c.fingerprint = error_stats.fingerprint)
  ),
  trends as (
    select s.fingerprint, array_agg(coalesce(s.number, 0) order by s.at) as trend
    from (
      select f.fingerprint, b.at, n.number
      from (select distinct p.fingerprint from part p) f
      cross join time t
      cross join lateral generate_series(t.since, t.until - interval '1 second', t.seconds * interval '1 second') b(at)
      left join (
        select p.fingerprint, p.bucket, sum(p.number)::bigint as number from part p group by 1, 2) n
        on n.fingerprint = f.fingerprint and n.bucket = b.at) s
    group by 1
  ),
  codes as (
    select p.fingerprint, array_agg(distinct v.version) filter (where v.version is not null) as versions
    from (select distinct p.fingerprint, p.task_type, p.first_seen, p.last_seen from part p) p
    cross join lateral (
      select h.version from (
        select h.version, h.since, lead(h.since) over (order by h.since) as until
        from pgsched.handler_versions h where h.task_type = p.task_type) h
      where h.since <= p.last_seen and (h.until is null or h.until > p.first_seen)) v
    group by 1
  )
  select s.fingerprint, coalesce(g.exception, ''), coalesce(g.message, 'other errors'), s.number,
    coalesce(g.first_seen, s.first_seen), coalesce(g.last_seen, s.last_seen), s.task_types, s.queues,
    coalesce(c.versions, '{}'), s.task_id, t.trend
  from (
    select p.fingerprint, sum(p.number)::bigint as number, min(p.first_seen) as first_seen, max(p.last_seen) as last_seen,
      coalesce(array_agg(distinct p.task_type) filter (where p.task_type <> ''), '{}') as task_types,
      coalesce(array_agg(distinct p.queue) filter (where p.queue <> ''), '{}') as queues, max(p.task_id) as task_id
    from part p group by 1) s
  join trends t using (fingerprint)
  left join codes c using (fingerprint)
  left join pgsched.error_groups g using (fingerprint)
  order by s.fingerprint = 'other', s.number desc, s.fingerprint
$$;

-- For the schema: the buckets of a time that ends now or earlier.
create function pgsched.counted_window(
  within interval, ago interval, out seconds integer, out since timestamptz, out until timestamptz,
  out covers double precision
) returns record
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  origin constant timestamptz := timestamptz '2000-01-01 00:00:00+00';
  wide double precision := extract(epoch from within);
  counted timestamptz;
begin
  if wide is null or wide < 300 or wide > 34560000 then
    raise invalid_parameter_value using
      message = format('within must be between 5 minutes and 400 days, got %s', coalesce(within::text, 'null'));
  elsif ago is null or ago < interval '0' then
    raise invalid_parameter_value using
      message = format('ago must not be negative, got %s', coalesce(ago::text, 'null'));
  end if;
  seconds := case when wide <= 6 * 3600 then 300 when wide <= 86400 then 3600 when wide <= 7 * 86400 then 21600
    else 86400 end;
  counted := coalesce((select s.counted_until from pgsched.roll_up_state s), now()) - extract(epoch from ago) * interval '1 second';
  until := date_bin(seconds * interval '1 second', counted, origin) + seconds * interval '1 second';
  since := until - ceil(wide / seconds) * seconds * interval '1 second';
  covers := extract(epoch from case when ago = interval '0' then least(until, counted) else until end - since);
end $$;

-- A quantile of a histogram in seconds; at most 9 % higher or lower than that of the durations it was made of. Null: it
-- is empty.
-- bins: The bins, each once.
-- counts: How many are in each.
-- share: Between 0 and 1.
-- longest: The longest of them, which no quantile is beyond.
create function pgsched.bin_quantile(
  bins integer[], counts bigint[], share double precision, longest double precision
) returns double precision
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
  -- The middle (by ratio) of the bin that the quantile is in, so 9 % too high or too low at the most.
  select least(pgsched.bin_seconds(b.bin) / power(2::double precision, 0.125), longest)
  from (
    select u.bin, sum(u.number) over (order by u.bin) as so_far, sum(u.number) over () as total
    from unnest(bins, counts) as u(bin, number)) b
  where b.so_far >= share * b.total and b.total > 0
  order by b.bin
  limit 1
$$;

-- The upper bound of a bin in seconds: four bins for each doubling, from 1 microsecond (0) to 70 days (170), which has
-- all longer ones, too.
create function pgsched.bin_seconds(bin integer) returns double precision
language sql immutable parallel safe
return (power((2)::double precision,
  (((bin - 40))::double precision / (4.0)::double precision)) / (1000)::double precision);

-- The bin of a duration in the histograms of pgsched.type_counts: bin n is longer than pgsched.bin_seconds(n - 1), and
-- no longer than pgsched.bin_seconds(n).
create function pgsched.duration_bin(seconds double precision) returns smallint
language sql immutable parallel safe
return case when (seconds is null) then null::smallint when (seconds > (0.0000009765625)::double precision) then (least((ceil((((4)::double precision * ln((seconds * (1000)::double precision))) / ln((2)::double precision))) + (40)::double precision),
  (170)::double precision))::smallint else (0)::smallint end;

-- For workers: whether it is this worker's turn to count the history, or still is. No other has it for a while.
create function pgsched.take_roll_up_turn(worker uuid, every double precision) returns boolean
language sql security definer
set search_path = pg_catalog, pg_temp as $$
  with turn as (
    update pgsched.roll_up_state s
    set next_at = now() + take_roll_up_turn.every * interval '1 second', worker_id = take_roll_up_turn.worker
    where s.next_at <= now() or s.worker_id = take_roll_up_turn.worker
    returning 1)
  select exists (select from turn)
$$;

-- For workers: one step of counting the history. Stage null: there is nothing to do now, or somebody else does it.
create function pgsched.roll_up(
  most interval, out stage integer, out begins timestamptz, out ends timestamptz, out number bigint,
  out grown timestamptz[], out failed bigint
) returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
#variable_conflict use_variable
-- One step, in the transaction of the caller, who writes the errors of the grown buckets in it, too. Whoever has the row
-- locked is alone; who dies has done nothing. Stage 0 counts what is new. What is committed long after it ended is found
-- by stages 1 to 3, which compare; stage 1 also counts what was there before, or was not counted while no worker ran.
declare
  width constant interval := interval '5 minutes';
  origin constant timestamptz := timestamptz '2000-01-01 00:00:00+00';
  lags constant interval[] := array['10 minutes', '2 hours', '2 days'];
  furthest constant interval := interval '30 days';
  state pgsched.roll_up_state;
  moment constant timestamptz := clock_timestamp();
  settled timestamptz[];
begin
  select * into state from pgsched.roll_up_state for update skip locked;
  if not found then
    return;
  end if;
  settled := state.settled_until;
  if state.fresh_from is null then
    state.fresh_from := date_bin(width, moment - interval '1 hour', origin);
    settled := array[
      greatest(moment - furthest, coalesce((select min(e.started_at) from pgsched.executions e), moment)),
      moment - lags[2], moment - lags[3]];
    select array_agg(date_bin(width, s, origin) order by p) into settled from unnest(settled) with ordinality u(s, p);
  elsif state.fresh_from < moment - interval '2 hours' then
    state.fresh_from := date_bin(width, moment - interval '1 hour', origin);  -- stage 1 counts what is in between
  end if;
  if state.counted_until is null or state.counted_until < moment - interval '20 seconds' then
    stage := 0;
    begins := state.fresh_from;
    ends := date_bin(width, moment, origin) + width;
    state.fresh_from := date_bin(width, moment - interval '30 seconds', origin);
    state.counted_until := moment;
  else
    for at in 1..3 loop
      settled[at] := greatest(settled[at], date_bin(width, moment - furthest, origin));
      if settled[at] + interval '30 minutes' <= moment - lags[at] then
        stage := at;
        begins := settled[at];
        ends := least(date_bin(width, moment - lags[at], origin), begins + greatest(date_bin(width, origin + most, origin) - origin, width));
        settled[at] := ends;
        exit;
      end if;
    end loop;
  end if;
  update pgsched.roll_up_state s
  set fresh_from = state.fresh_from, counted_until = state.counted_until, settled_until = settled;
  if stage is null then
    return;
  end if;
  select c.number, c.grown, c.failed into number, grown, failed
  from pgsched.count_history(begins, ends, stage > 0) c;
end $$;

-- For the schema: counts the attempts that ended within whole buckets of 5 minutes into pgsched.type_counts.
create function pgsched.count_history(
  begins timestamptz, ends timestamptz, compare boolean, out number bigint, out grown timestamptz[], out failed bigint
) returns record
language plpgsql
set search_path = pg_catalog, pg_temp set jit = 'off' set max_parallel_workers_per_gather = '0' set work_mem = '32MB'
  set enable_nestloop = 'off' as $$
#variable_conflict use_variable
-- Counts whole buckets anew, from the history as it is, and writes those in which there is more than was counted: a bucket
-- never shrinks, so that what was counted stays when the history is dropped. Counting twice changes nothing. Nobody knows how
-- many rows the sums have before they are made: joined in a loop they took 50 times as long.
declare
  width constant interval := interval '5 minutes';
  origin constant timestamptz := timestamptz '2000-01-01 00:00:00+00';
  durable constant text[] := array(select h.task_type::text from pgsched.handlers h where h.durable);
begin
  if compare then
    -- First only how many there are: most have not changed.
    select coalesce(sum(a.number), 0), min(a.bucket) filter (where a.number > coalesce(k.number, 0)),
      max(a.bucket) filter (where a.number > coalesce(k.number, 0)) + width
    into number, begins, ends
    from (
      select date_bin(width, e.finished_at, origin) as bucket, count(*) as number
      from pgsched.executions e
      where e.finished_at >= begins and e.finished_at < ends
      group by 1) a
    left join (
      select c.bucket, sum(c.completed + c.failed + c.timed_out + c.cancelled + c.lost + c.snoozed) as number
      from pgsched.type_counts c
      where c.seconds = 300 and c.bucket >= begins and c.bucket < ends
      group by 1) k using (bucket);
    grown := '{}';
    failed := 0;
    if begins is null then
      return;
    end if;
  end if;
  with attempt as (
    select date_bin(width, e.finished_at, origin) as bucket, e.task_type, e.queue,
      case when e.status = 'cancelled' and e.attempt = 0 then 'snoozed' else e.status end as status,
      case when e.status in ('completed', 'failed', 'timed_out') then greatest(e.duration_ms, 0) / 1000 end as run,
      case when e.attempt = 1 and e.status <> 'cancelled' and e.started_at >= e.scheduled_for
        -- Their attempts start anew after each suspension.
        and e.task_type <> all(durable)
        -- Late ones are looked at: a task that was retried by hand, waited for others or was put off was not due then.
        and (e.started_at < e.scheduled_for + interval '1 minute' or not exists (
            select from pgsched.executions b
            where b.task_id = e.task_id and b.started_at >= e.scheduled_for and b.started_at < e.started_at
              and b.scheduled_for is not distinct from e.scheduled_for)
          and not exists (select from pgsched.tasks t where t.id = e.task_id and t.depends_on <> '{}'))
        then date_part('epoch', e.started_at - e.scheduled_for) end as wait
    from pgsched.executions e
    where e.finished_at >= begins and e.finished_at < ends
    offset 0  -- each is computed once
  ),
  raw as materialized (
    -- Three small groupings of one scan: one of all that they group by would have about as many groups as attempts.
    select a.bucket, a.task_type, a.queue, grouping(a.status, a.run_bin, a.wait_bin) as kind, a.status, a.run_bin, a.wait_bin,
      count(*) as number, coalesce(sum(a.run), 0) as run_seconds, max(a.run) as run_max,
      coalesce(sum(a.wait), 0) as wait_seconds, max(a.wait) as wait_max
    from (
      select a.*, pgsched.duration_bin(a.run) as run_bin, pgsched.duration_bin(a.wait) as wait_bin from attempt a offset 0) a
    group by grouping sets (
      (a.bucket, a.task_type, a.queue, a.status), (a.bucket, a.task_type, a.queue, a.run_bin),
      (a.bucket, a.task_type, a.queue, a.wait_bin))
  ),
  ranked as materialized (
    select s.bucket, s.task_type, s.queue,
      row_number() over (partition by s.bucket order by s.number desc, s.task_type, s.queue) > 1000 as beyond
    from (select r.bucket, r.task_type, r.queue, sum(r.number) as number from raw r where r.kind = 3 group by 1, 2, 3) s
  ),
  bounded as materialized (
    select r.bucket, case when k.beyond then '' else r.task_type end as task_type,
      case when k.beyond then '' else r.queue end as queue, r.kind, r.status, r.run_bin, r.wait_bin, r.number,
      r.run_seconds, r.run_max, r.wait_seconds, r.wait_max
    from raw r join ranked k using (bucket, task_type, queue)
  ),
  more as materialized (
    select a.bucket
    from (select b.bucket, sum(b.number) as number from bounded b where b.kind = 3 group by 1) a
    left join (
      select c.bucket, sum(c.completed + c.failed + c.timed_out + c.cancelled + c.lost + c.snoozed) as number
      from pgsched.type_counts c
      where c.seconds = 300 and c.bucket >= begins and c.bucket < ends
      group by 1) k using (bucket)
    where a.number > coalesce(k.number, 0)
  ),
  runs as (
    select r.bucket, r.task_type, r.queue, array_agg(r.bin order by r.bin) as bins, array_agg(r.number order by r.bin) as counts
    from (
      select b.bucket, b.task_type, b.queue, b.run_bin as bin, sum(b.number)::bigint as number
      from bounded b where b.kind = 5 and b.run_bin is not null group by 1, 2, 3, 4) r
    group by 1, 2, 3
  ),
  waits as (
    select r.bucket, r.task_type, r.queue, array_agg(r.bin order by r.bin) as bins, array_agg(r.number order by r.bin) as counts
    from (
      select b.bucket, b.task_type, b.queue, b.wait_bin as bin, sum(b.number)::bigint as number
      from bounded b where b.kind = 6 and b.wait_bin is not null group by 1, 2, 3, 4) r
    group by 1, 2, 3
  ),
  written as (
    insert into pgsched.type_counts as c (
      seconds, bucket, task_type, queue, completed, failed, timed_out, cancelled, lost, snoozed, run_seconds, run_max,
      wait_seconds, wait_max, run_bins, run_counts, wait_bins, wait_counts)
    select 300, s.*, coalesce(r.bins, '{}'), coalesce(r.counts, '{}'), coalesce(w.bins, '{}'), coalesce(w.counts, '{}')
    from (
      select b.bucket, b.task_type, b.queue, coalesce(sum(b.number) filter (where b.status = 'completed'), 0),
        coalesce(sum(b.number) filter (where b.status = 'failed'), 0),
        coalesce(sum(b.number) filter (where b.status = 'timed_out'), 0),
        coalesce(sum(b.number) filter (where b.status = 'cancelled'), 0),
        coalesce(sum(b.number) filter (where b.status = 'lost'), 0),
        coalesce(sum(b.number) filter (where b.status = 'snoozed'), 0),
        sum(b.run_seconds), max(b.run_max), sum(b.wait_seconds), max(b.wait_max)
      from bounded b join more m using (bucket)
      where b.kind = 3
      group by 1, 2, 3) s
    left join runs r using (bucket, task_type, queue)
    left join waits w using (bucket, task_type, queue)
    on conflict on constraint type_counts_pkey do update set
      (completed, failed, timed_out, cancelled, lost, snoozed, run_seconds, run_max, run_bins, run_counts, wait_seconds,
        wait_max, wait_bins, wait_counts) = (
        excluded.completed, excluded.failed, excluded.timed_out, excluded.cancelled, excluded.lost, excluded.snoozed,
        excluded.run_seconds, excluded.run_max, excluded.run_bins, excluded.run_counts, excluded.wait_seconds,
        excluded.wait_max, excluded.wait_bins, excluded.wait_counts)
    returning c.bucket, c.failed + c.timed_out + c.lost as failed
  )
  select coalesce((select sum(b.number) from bounded b where b.kind = 3), 0), coalesce(array_agg(distinct w.bucket), '{}'),
    coalesce(sum(w.failed), 0)
  into number, grown, failed
  from written w;
  perform pgsched.sum_type_counts(300, 3600, array(
    select distinct date_bin('1 hour', g, origin) from unnest(grown) g));
  perform pgsched.sum_type_counts(3600, 21600, array(
    select distinct date_bin('6 hours', g, origin) from unnest(grown) g));
  perform pgsched.sum_type_counts(21600, 86400, array(
    select distinct date_bin('1 day', g, origin) from unnest(grown) g));
end $$;

-- For the schema: makes longer buckets of shorter ones.
create function pgsched.sum_type_counts(fine integer, coarse integer, buckets timestamptz[]) returns void
language sql
set search_path = pg_catalog, pg_temp set jit = 'off' set max_parallel_workers_per_gather = '0' set work_mem = '32MB'
  set enable_nestloop = 'off' as $$
  with part as materialized (
    select date_bin(coarse * interval '1 second', c.bucket, timestamptz '2000-01-01 00:00:00+00') as at, c.*
    from unnest(buckets) b(at)
    join pgsched.type_counts c on c.seconds = fine and c.bucket >= b.at and c.bucket < b.at + coarse * interval '1 second'
  ),
  runs as (
    select r.at, r.task_type, r.queue, array_agg(r.bin order by r.bin) as bins, array_agg(r.number order by r.bin) as counts
    from (
      select p.at, p.task_type, p.queue, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.run_bins, p.run_counts) u(bin, number)
      group by p.at, p.task_type, p.queue, u.bin) r
    group by r.at, r.task_type, r.queue
  ),
  waits as (
    select w.at, w.task_type, w.queue, array_agg(w.bin order by w.bin) as bins, array_agg(w.number order by w.bin) as counts
    from (
      select p.at, p.task_type, p.queue, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.wait_bins, p.wait_counts) u(bin, number)
      group by p.at, p.task_type, p.queue, u.bin) w
    group by w.at, w.task_type, w.queue
  )
  insert into pgsched.type_counts as c (
    seconds, bucket, task_type, queue, completed, failed, timed_out, cancelled, lost, snoozed, run_seconds, run_max,
    run_bins, run_counts, wait_seconds, wait_max, wait_bins, wait_counts)
  select coarse, s.*, coalesce(r.bins, '{}'), coalesce(r.counts, '{}'), s2.wait_seconds, s2.wait_max,
    coalesce(w.bins, '{}'), coalesce(w.counts, '{}')
  from (
    select p.at, p.task_type, p.queue, sum(p.completed), sum(p.failed), sum(p.timed_out), sum(p.cancelled), sum(p.lost),
      sum(p.snoozed), sum(p.run_seconds), max(p.run_max)
    from part p group by p.at, p.task_type, p.queue) s
  join (
    select p.at, p.task_type, p.queue, sum(p.wait_seconds) as wait_seconds, max(p.wait_max) as wait_max
    from part p group by p.at, p.task_type, p.queue) s2 using (at, task_type, queue)
  left join runs r using (at, task_type, queue)
  left join waits w using (at, task_type, queue)
  on conflict on constraint type_counts_pkey do update set
    (completed, failed, timed_out, cancelled, lost, snoozed, run_seconds, run_max, run_bins, run_counts, wait_seconds,
      wait_max, wait_bins, wait_counts) = (
      excluded.completed, excluded.failed, excluded.timed_out, excluded.cancelled, excluded.lost, excluded.snoozed,
      excluded.run_seconds, excluded.run_max, excluded.run_bins, excluded.run_counts, excluded.wait_seconds,
      excluded.wait_max, excluded.wait_bins, excluded.wait_counts)
$$;

-- For workers: writes the errors of buckets that pgsched.roll_up has counted, instead of those that were there.
create function pgsched.note_errors(buckets timestamptz[], errors jsonb) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
#variable_conflict use_variable
declare
  origin constant timestamptz := timestamptz '2000-01-01 00:00:00+00';
  fine integer := 300;
  coarse integer;
  longer timestamptz[];
  room integer;
begin
  room := greatest(500 - (select count(*) from pgsched.error_groups g where g.noted_at > now() - interval '1 day'), 0);
  insert into pgsched.error_groups as g (fingerprint, exception, message, first_seen, last_seen)
  select n.* from (
    select r.fingerprint, min(r.exception), min(r.message), min(r.first_seen), max(r.last_seen)
    from jsonb_to_recordset(errors) as r(fingerprint text, exception text, message text, first_seen timestamptz,
      last_seen timestamptz, number bigint)
    where r.fingerprint <> 'other' and not exists (select from pgsched.error_groups k where k.fingerprint = r.fingerprint)
    group by r.fingerprint
    order by sum(r.number) desc, r.fingerprint
    limit room) n
  on conflict do nothing;
  update pgsched.error_groups g
  set first_seen = least(g.first_seen, r.first_seen), last_seen = greatest(g.last_seen, r.last_seen)
  from (
    select r.fingerprint, min(r.first_seen) as first_seen, max(r.last_seen) as last_seen
    from jsonb_to_recordset(errors) as r(fingerprint text, first_seen timestamptz, last_seen timestamptz)
    group by r.fingerprint) r
  where g.fingerprint = r.fingerprint and (g.first_seen > r.first_seen or g.last_seen < r.last_seen);
  delete from pgsched.error_counts c where c.seconds = 300 and c.bucket = any(buckets);
  insert into pgsched.error_counts (seconds, bucket, fingerprint, task_type, queue, number, first_seen, last_seen, task_id)
  select 300, f.bucket, f.fingerprint, f.task_type, f.queue, sum(f.number), min(f.first_seen), max(f.last_seen), max(f.task_id)
  from (
    select r.bucket, r.number, r.first_seen, r.last_seen, case when r.named then r.task_id end as task_id,
      case when r.named then r.fingerprint else 'other' end as fingerprint,
      case when r.named then r.task_type else '' end as task_type, case when r.named then r.queue else '' end as queue
    from (
      select r.*, exists (select from pgsched.error_groups g where g.fingerprint = r.fingerprint)
        and row_number() over (partition by r.bucket order by r.of_group desc, r.fingerprint, r.number desc) <= 100 as named
      from (
        select r.*, sum(r.number) over (partition by r.bucket, r.fingerprint) as of_group
        from jsonb_to_recordset(errors) as r(bucket timestamptz, fingerprint text, task_type text, queue text, number bigint,
          first_seen timestamptz, last_seen timestamptz, task_id bigint)
        where r.bucket = any(buckets)) r) r) f
  group by 2, 3, 4, 5;
  foreach coarse in array array[3600, 21600, 86400] loop
    longer := array(select distinct date_bin(coarse * interval '1 second', b, origin) from unnest(buckets) b);
    delete from pgsched.error_counts c where c.seconds = coarse and c.bucket = any(longer);
    insert into pgsched.error_counts (seconds, bucket, fingerprint, task_type, queue, number, first_seen, last_seen, task_id)
    select coarse, f.bucket, f.fingerprint, f.task_type, f.queue, sum(f.number), min(f.first_seen), max(f.last_seen), max(f.task_id)
    from (
      select r.bucket, r.number, r.first_seen, r.last_seen, case when r.named then r.task_id end as task_id,
        case when r.named then r.fingerprint else 'other' end as fingerprint,
        case when r.named then r.task_type else '' end as task_type, case when r.named then r.queue else '' end as queue
      from (
        select s.*, row_number() over (
            partition by s.bucket order by s.fingerprint = 'other', s.of_group desc, s.fingerprint, s.number desc)
          <= case coarse when 86400 then 1000 else 300 end as named
        from (
          select s.*, sum(s.number) over (partition by s.bucket, s.fingerprint) as of_group from (
          select b.at as bucket, c.fingerprint, c.task_type, c.queue, sum(c.number) as number, min(c.first_seen) as first_seen,
            max(c.last_seen) as last_seen, max(c.task_id) as task_id
          from unnest(longer) b(at)
          join pgsched.error_counts c on c.seconds = fine and c.bucket >= b.at
            and c.bucket < b.at + coarse * interval '1 second'
          group by 1, 2, 3, 4) s) s) r) f
    group by 2, 3, 4, 5;
    fine := coarse;
  end loop;
end $$;

-- For workers: deletes counts of the history that are older than they are kept; returns how many.
create function pgsched.prune_roll_ups() returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What is not yet counted to its end keeps its short buckets: longer ones are made of them.
declare
  before timestamptz;
  gone integer;
  number integer := 0;
  level record;
begin
  select least(now(), s.settled_until[1] + interval '7 days') into before from pgsched.roll_up_state s;
  for level in
    select * from (values (300, interval '8 days', interval '8 days'), (3600, '15 days', '15 days'),
      (21600, '31 days', '31 days'), (86400, '400 days', '90 days')) v(seconds, types, errors)
  loop
    delete from pgsched.type_counts c where c.seconds = level.seconds and c.bucket < before - level.types;
    get diagnostics gone = row_count;
    number := number + gone;
    delete from pgsched.error_counts c where c.seconds = level.seconds and c.bucket < before - level.errors;
    get diagnostics gone = row_count;
    number := number + gone;
  end loop;
  delete from pgsched.error_groups g where g.last_seen < before - interval '91 days';
  delete from pgsched.handler_versions v
  where v.since < now() - interval '400 days' and exists (
    select from pgsched.handler_versions n where n.task_type = v.task_type and n.since > v.since);
  return number;
end $$;

-- For the schema: keeps when a version of a handler's code became the newest.
create function pgsched.note_version() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if tg_op = 'INSERT' or new.versions -> -1 ->> 'code' is distinct from old.versions -> -1 ->> 'code' then
    insert into pgsched.handler_versions (task_type, since, version, code)
    values (new.task_type, now(), new.versions -> -1 ->> 'version', new.versions -> -1 ->> 'code')
    on conflict on constraint handler_versions_pkey do update
      set version = excluded.version, code = excluded.code;
  end if;
  return null;
end $$;

-- Locks ---------------------------------------------------------------------------------------------------------------
-- Named locks for programs.

-- Takes a lock for an owner and returns its fencing token, or null while another owner has it. Renew it before ttl is
-- over; call it outside a longer transaction.
-- name: What is locked: 1 to 200 characters.
-- owner: An id made up for this one acquisition; the same call again returns the same token.
-- ttl: How long it is good for without a renewal, from 1 second to 1 day.
-- holder: Who has it, for people.
create function pgsched.lock(
  name text, owner uuid, ttl interval default '00:00:30'::interval, holder text default null
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  held pgsched.locks;
  token bigint;
  ends timestamptz;
begin
  perform pgsched.refuse_lock(lock.name, lock.owner, lock.ttl);
  -- One acquisition of a name at a time, so that a token that is drawn later is written later. Whoever comes meanwhile
  -- does not wait: it is as if the lock were held, and soon it will be.
  if not pg_try_advisory_xact_lock(hashtextextended('pgsched.lock ' || lock.name, 0)) then
    return null;
  end if;
  select * into held from pgsched.locks l where l.name = lock.name;
  if held.locked_until > clock_timestamp() then
    if held.owner <> lock.owner then
      return null;
    end if;
    -- Its own already: the answer to the first call was lost.
    token := held.fencing_token;
  else
    token := nextval('pgsched.lock_tokens');
  end if;
  ends := clock_timestamp() + make_interval(secs => extract(epoch from lock.ttl));
  insert into pgsched.locks as l (name, owner, holder, fencing_token, locked_until, acquired_at)
  values (lock.name, lock.owner, lock.holder, token, ends, clock_timestamp())
  on conflict on constraint locks_pkey do update
  set owner = excluded.owner, holder = excluded.holder, fencing_token = excluded.fencing_token,
    locked_until = excluded.locked_until,
    acquired_at = case when l.fencing_token = excluded.fencing_token then l.acquired_at else excluded.acquired_at end
  -- A renewal may have been on its way when the row was read.
  where l.locked_until <= clock_timestamp() or l.owner = excluded.owner
  returning l.fencing_token into token;
  return token;
end $$;

-- Keeps a lock for ttl from now on. False: it was lost, because its time was over or somebody broke it.
-- name: What is locked.
-- owner: The id that it was taken with.
-- ttl: How long it is good for from now on, from 1 second to 1 day.
create function pgsched.renew_lock(name text, owner uuid, ttl interval default '00:00:30'::interval) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.refuse_lock(renew_lock.name, renew_lock.owner, renew_lock.ttl);
  update pgsched.locks l
  set locked_until = clock_timestamp() + make_interval(secs => extract(epoch from renew_lock.ttl))
  where l.name = renew_lock.name and l.owner = renew_lock.owner and l.locked_until > clock_timestamp();
  return found;
end $$;

-- Gives a lock back. False: the owner did not have it any more.
-- name: What is locked.
-- owner: The id that it was taken with.
create function pgsched.unlock(name text, owner uuid) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  was_held boolean;
begin
  delete from pgsched.locks l where l.name = unlock.name and l.owner = unlock.owner
  returning l.locked_until > clock_timestamp() into was_held;
  return coalesce(was_held, false);
end $$;

-- For the schema: refuses arguments of a lock that make no sense.
create function pgsched.refuse_lock(name text, owner uuid, ttl interval) returns void
language plpgsql as $$
#variable_conflict use_variable
begin
  if name is null or length(name) not between 1 and 200 then
    raise invalid_parameter_value using
      message = format('lock name must have 1 to 200 characters, got %s', coalesce(length(name)::text, 'null'));
  end if;
  if name ~ '[[:cntrl:]]' then
    raise invalid_parameter_value using
      message = format('lock name must not contain control characters, got %s', to_jsonb(name));
  end if;
  if owner is null then
    raise invalid_parameter_value using message = format('lock %L: owner must be a uuid, got null', name);
  end if;
  if ttl is null or ttl not between interval '1 second' and interval '1 day' then
    raise invalid_parameter_value using
      message = format('lock %L: ttl must be between 1 second and 1 day, got %s', name, coalesce(ttl::text, 'null'));
  end if;
end $$;

-- Copies of a database ------------------------------------------------------------------------------------------------
-- Whether the tasks belong to this database: docs/copies.md.

-- Whether the tasks belong to this database. state is original, copy (they belong to another database), held (workers
-- are held back) or unnoted. problem says why workers do not start, in a sentence; null if they do.
create function pgsched.database_state(
) returns table (
  state text, problem text, system_identifier text, database_oid bigint, database_name text,
  noted_system_identifier text, noted_database_oid bigint, noted_database_name text, noted_at timestamptz,
  noted_by text, held_at timestamptz, held_by text
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

-- Lets the tasks belong to this database: workers start and run them here, even if the original runs them too. Also
-- ends a hold. Returns whether that changed anything.
-- adopted_by: Who says so, for people. Default: the role.
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

-- Keeps workers from starting in this database until somebody adopts it: for a copy of a whole server, which cannot be
-- told from the original. Workers that already run continue. Returns whether that changed anything.
-- held_by: Who says so, for people. Default: the role.
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

-- For pgsched migrate: notes that the tasks belong to this database, unless a database has been noted. Returns whether
-- it was.
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

-- For workers: fails unless the tasks belong to this database.
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

-- The system identifier of this server; null if the role may not call pg_control_system().
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

-- The dashboard -------------------------------------------------------------------------------------------------------
-- Sessions that its users have ended.

-- For the web face: ends a session in all its processes, and forgets those that have ended by themselves.
create function pgsched.revoke_session(id text, ends_at timestamptz) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A row of its own for each session, whoever is logged in: the role of a dashboard that only looks has no right on the table.
begin
  if ends_at > now() + interval '31 days' then
    raise invalid_parameter_value using message = format('ends_at must be within 31 days, got %s', ends_at);
  end if;
  delete from pgsched.revoked_sessions s where s.ends_at < now() - interval '1 minute';
  insert into pgsched.revoked_sessions (id, ends_at) values (id, ends_at) on conflict do nothing;
end $$;

-- The worker protocol -------------------------------------------------------------------------------------------------
-- What a worker in another language calls: docs/worker_protocol.md.

-- The version of the worker protocol that this schema speaks. It grows when a client has to be changed.
create function pgsched.protocol_version() returns integer
language sql immutable parallel safe
return 1;

-- Puts a worker on the list, and its types into the register. Call it again when beat says that the worker is not
-- known. Returns the version of the protocol.
-- worker: An id that the process makes up at each start.
-- queues: The queues that it serves.
-- task_types: The types that it has handlers for.
-- concurrency: How many tasks it runs at once.
-- lease: How long its claims are good for without a beat.
-- client: Language and version of its client, for people.
-- code_version: The version of the application.
-- hostname: Where it runs.
-- pid: Its process there.
-- protocol: The version of the protocol that the client was written for.
create function pgsched.register_worker(
  worker uuid, queues text[], task_types text[], concurrency integer, lease interval default '00:00:30'::interval,
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

-- Takes a worker off the list. What it still has must be released before. False: it was not on the list.
-- worker: Its id.
create function pgsched.unregister_worker(worker uuid) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  delete from pgsched.set_aside s where s.worker_id = worker;
  delete from pgsched.workers w where w.id = worker;
  return found;
end $$;

-- Leases due tasks to a worker, in the order in which they are to start. Attempts are counted; attempts that were lost
-- are written to the history; tasks that expired or used up their attempts end; missed ticks, limits and pauses are
-- respected; groups are fired and joined.
-- worker: Its id.
-- queues: Where to look, in this order.
-- task_types: The types that it runs; others are left alone.
-- max_tasks: How many at most, 1 to 1000: as many as can begin at once.
-- lease: For how long, without a beat: 1 second to 1 day.
-- passed_over: Tasks that are left out, as those that pgsched.look_at_refused returns.
create function pgsched.claim(
  worker uuid, queues text[], task_types text[], max_tasks integer default 1,
  lease interval default '00:00:30'::interval, passed_over bigint[] default '{}'::bigint[]
) returns table (
  id bigint, fencing_token bigint, task_type text, queue text, payload jsonb, attempt integer, max_attempts integer,
  timeout double precision, scheduled_for timestamptz, details jsonb
)
language plpgsql rows 100
set enable_seqscan = 'off' set enable_bitmapscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- The statement of sql/queries/claim_tasks.sql, without the positions that a Python worker remembers, and without tasks that
-- are held in advance: what is claimed is to begin at once.
declare
  most_bytes constant bigint := 16777216;
  types constant text[] := task_types || 'pgsched.group'::text;
  limited text[];
  common text[];
  room integer := max_tasks;
  taken integer;
  limited_turn boolean;
  claimed record;
  doubtful bigint[];
  lost boolean[];
begin
  perform pgsched.check_worker_call(queues, task_types, max_tasks, 1000, lease);
  select coalesce(array_agg(q.name::text order by array_position(queues, q.name::text)), '{}') into limited
  from pgsched.queues q where q.apart and q.name = any(queues);
  common := case when limited = '{}' then queues else array(
    select o.name from unnest(queues) with ordinality as o(name, place) where o.name <> all(limited) order by o.place) end;
  limited_turn := queues[1] = any(limited);
  for round in 1..20 loop
    -- Those of the first queue's kind first, so that a client that rotates its queues lets each have its turn.
    taken := 0;
    doubtful := '{}';
    lost := '{}';
    for turn in 1..2 loop
      if room > taken and not limited_turn and common <> '{}' then
        for claimed in
          with probe as (
            select o.name as queue, p.priority::smallint as priority, q.ordering is distinct from 'lifo' as fifo
            from unnest(common) with ordinality as o(name, place)
            cross join generate_series(10, 1, -1) as p(priority)
            left join pgsched.queues q on q.name = o.name
            where q.paused is not true
            order by o.place, p.priority desc
          ),
          due as (
            select f.id, f.locked_by, f.fencing_token, f.attempts, f.started_at,
              coalesce(f.unbegun_token, 0) = -1 or f.locker <> '0' and pgsched.lock_was_lost(f.locker) as lock_lost,
              f.locked_by is null or f.unbegun_token is distinct from f.fencing_token as counts,
              case when pg_column_compression(f.payload) is null then pg_column_size(f.payload)
                else octet_length(f.payload::text) end as bytes
            from probe
            cross join lateral (
              select * from (
                select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at, t.unbegun_token, t.payload, t.xmax as locker
                from pgsched.tasks t
                where probe.fifo and t.queue = probe.queue and t.priority = probe.priority
                  and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
                  and (t.locked_until is null or t.locked_until < now())
                  and t.task_type = any(types) and t.id <> all(passed_over)
                order by t.next_run_at, t.id
                limit room - taken
                for no key update skip locked) first_in
              union all
              select * from (
                select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at, t.unbegun_token, t.payload, t.xmax as locker
                from pgsched.tasks t
                where not probe.fifo and t.queue = probe.queue and t.priority = probe.priority
                  and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
                  and (t.locked_until is null or t.locked_until < now())
                  and t.task_type = any(types) and t.id <> all(passed_over)
                order by t.next_run_at desc, t.id desc
                limit room - taken
                for no key update skip locked) last_in
            ) f
            limit room - taken
          ),
          placed as materialized (
            select due.*, sum(due.bytes) over (rows unbounded preceding) - due.bytes as before from due
          ),
          drawn as materialized (
            select nextval('pgsched.fencing_tokens') as token from (select from placed limit 1) as some_row
          ),
          marked as (
            -- What is let go again keeps the mark that its lock was lost.
            update pgsched.tasks t set unbegun_token = -1
            from placed
            where placed.lock_lost and placed.before >= most_bytes and t.id = any(array[placed.id])
          ),
          lost_attempts as (
            insert into pgsched.executions (
              task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
              duration_ms, error)
            select t.id, t.task_type, t.queue, p.attempts, p.fencing_token, t.scheduled_for, p.locked_by, 'lost',
              p.started_at, now(), extract(epoch from now() - p.started_at) * 1000,
              'the lease of worker ' || p.locked_by || ' ran out'
            from placed p join pgsched.tasks t on t.id = any(array[p.id])
            where p.locked_by is not null and p.counts and p.before < most_bytes
          )
          update pgsched.tasks t
          set status = 'running', locked_by = worker, locked_until = now() + lease, attempts = t.attempts + p.counts::integer,
            fencing_token = greatest(d.token, t.fencing_token + 1), started_at = now(), unbegun_token = null
          from placed p, drawn d
          where p.before < most_bytes and t.id = any(array[p.id])
          returning t.id, t.fencing_token, t.task_type, t.queue, t.payload, t.attempts, t.max_attempts, t.scheduled_for,
            case when t.timeout is not null then extract(epoch from t.timeout)::double precision end as timeout,
            p.locked_by is not null as lost, pgsched.claim_details(t) as details,
            t.schedule_type <> 'one_time' or t.attempts > t.max_attempts or t.expires_at is not null
              or t.task_type = 'pgsched.group' as doubtful
        loop
          taken := taken + 1;
          if claimed.doubtful then
            doubtful := doubtful || claimed.id;
            lost := lost || claimed.lost;
          else
            id := claimed.id;
            fencing_token := claimed.fencing_token;
            task_type := claimed.task_type;
            queue := claimed.queue;
            payload := claimed.payload;
            attempt := claimed.attempts;
            max_attempts := claimed.max_attempts;
            timeout := claimed.timeout;
            scheduled_for := claimed.scheduled_for;
            details := claimed.details;
            return next;
          end if;
        end loop;
      elsif room > taken and limited_turn and limited <> '{}' then
        for claimed in
          select c.lease_expired as lost, (c.task).id as id
          from pgsched.claim_limited(
            limited, array_fill(room - taken, array[cardinality(limited)]), room - taken, most_bytes, worker,
            extract(epoch from lease)::double precision, types, passed_over, false) as c
          where c.size is not null
        loop
          taken := taken + 1;
          doubtful := doubtful || claimed.id;
          lost := lost || claimed.lost;
        end loop;
      end if;
      limited_turn := not limited_turn;
    end loop;
    if taken > 0 and round = 1 then
      -- It is awake: it looks again by itself.
      update pgsched.workers w set sleeping_until = null where w.id = worker and w.sleeping_until is not null;
    end if;
    exit when doubtful = '{}';
    return query
    select t.id, t.fencing_token, t.task_type::text, t.queue::text, t.payload::jsonb, t.attempts::integer, t.max_attempts::integer,
      case when t.timeout is not null then extract(epoch from t.timeout)::double precision end, t.scheduled_for::timestamptz,
      pgsched.claim_details(t)
    from pgsched.judge_claimed(worker, doubtful, lost) with ordinality as j(id, place)
    join pgsched.tasks t on t.id = any(array[j.id])
    order by j.place;
    get diagnostics taken = row_count;
    -- Those that nobody is to run have left their place to others.
    room := room - taken;
    exit when taken = cardinality(doubtful) or room <= 0;
  end loop;
end $$;

-- To be called when the database has refused a claim: tries the claim of each task by itself, and ends as dead those
-- that cannot be claimed. Returns them, and whether each is dead; those that are not are to be passed over for a while.
-- worker: Its id.
-- queues: As for the claim.
-- task_types: As for the claim.
-- max_tasks: As for the claim.
-- passed_over: As for the claim.
create function pgsched.look_at_refused(
  worker uuid, queues text[], task_types text[], max_tasks integer default 1,
  passed_over bigint[] default '{}'::bigint[]
) returns table (id bigint, task_type text, message text, dead boolean)
language plpgsql
set enable_seqscan = 'off' set enable_bitmapscan = 'off' set jit = 'off' as $$
#variable_conflict use_variable
-- As the Python worker does it (pgsched/worker/set_aside.py). When more than 10 tasks are tried and all fail, the reason is not theirs.
declare
  tried record;
  ids bigint[];
  refused bigint[] := '{}';
  errors text[] := '{}';
begin
  perform pgsched.check_worker_call(queues, task_types, max_tasks, 1000, '1 minute');
  ids := array(
    select f.id
    from unnest(queues) with ordinality as o(name, place)
    cross join generate_series(10, 1, -1) as p(priority)
    left join pgsched.queues q on q.name = o.name
    cross join lateral (
      select t.id
      from pgsched.tasks t
      where t.queue = o.name and t.priority = p.priority and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
        and (t.locked_until is null or t.locked_until < now())
        and t.task_type = any(task_types || 'pgsched.group'::text) and t.id <> all(passed_over)
      order by case when q.ordering = 'lifo' then extract(epoch from t.next_run_at) * -1 else extract(epoch from t.next_run_at) end, t.id
      limit max_tasks) f
    where q.paused is not true
    order by o.place, p.priority desc
    limit max_tasks);
  for tried in select t.* from pgsched.try_claims(ids, worker) t where t.state is not null loop
    refused := refused || tried.id;
    errors := errors || format('the task cannot be claimed: %s', tried.message);
  end loop;
  return query
  select r.id, t.task_type::text, r.error, coalesce(b.refused is null and b.id is not null, false)
  from unnest(refused, errors) as r(id, error)
  join pgsched.tasks t on t.id = r.id
  left join pgsched.bury_unclaimed(
    case when cardinality(refused) > 10 and cardinality(refused) = cardinality(ids) then '{}' else refused end, errors) b
    on b.id = r.id
  order by r.id;
end $$;

-- Writes what became of claimed tasks, in one transaction: history, retries by the backoff of the task, dead letters,
-- the next tick of a schedule, tasks that wait for these. Returns how many were written (those that an earlier call has
-- written, too), and the ids that are no longer the worker's (fenced: nothing is written) or locked by another session
-- (locked: send them again).
-- worker: Its id.
-- outcomes: 1 to 2000 objects with id, fencing_token, outcome (completed, failed, timed_out, discarded: no further
-- attempt, snoozed: not counted, or ended: the schedule is over) and where they apply result, error, seconds (how long
-- the handler ran) and retry_in (seconds until the next attempt).
create function pgsched.finish(
  worker uuid, outcomes jsonb, out written integer, out fenced bigint[], out locked bigint[]
) returns record
language plpgsql
set enable_seqscan = 'off' set enable_bitmapscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- The common end first, as in sql/queries/finish_completed.sql: a one-time task that was completed. Rows that another
-- session has locked are not waited for.
declare
  given integer;
  unknown text;
  leaves boolean;
  tells boolean;
  gone bigint[] := '{}';
  ids bigint[];
  ended bigint[];
  others jsonb;
  missing jsonb;
begin
  if jsonb_typeof(outcomes) is distinct from 'array' or jsonb_array_length(outcomes) not between 1 and 2000 then
    raise invalid_parameter_value using message = format(
      'outcomes must be an array of 1 to 2000 objects, got %s', coalesce(left(outcomes::text, 100), 'null'));
  end if;
  given := jsonb_array_length(outcomes);
  select coalesce(d ->> 'outcome', 'null') into unknown from jsonb_array_elements(outcomes) d
  where coalesce(d ->> 'outcome', 'null') not in ('completed', 'failed', 'timed_out', 'discarded', 'snoozed', 'ended')
  limit 1;
  if unknown is not null then
    raise invalid_parameter_value using message = format(
      'outcome must be completed, failed, timed_out, discarded, snoozed or ended, got %s', left(unknown, 100));
  end if;
  select coalesce(bool_or(q.retention = '0'), false) or (select s.retention = '0' from pgsched.settings s) is true,
    coalesce(bool_or(q.events), false)
  into leaves, tells
  from pgsched.queues q where q.events or q.retention = '0';
  if leaves then
    select array_agg(l.id) into gone
    from (
      select array_agg(d.id order by d.id) as ids, array_agg(d.fencing_token order by d.id) as tokens,
        array_agg(coalesce(d.seconds, 0) order by d.id) as seconds, array_agg(d.result::text order by d.id) as results
      from jsonb_to_recordset(outcomes) as d(
        id bigint, fencing_token bigint, outcome text, seconds double precision, result jsonb)
      where d.outcome = 'completed'
    ) d
    cross join lateral pgsched.leave(worker, d.ids, d.tokens, d.seconds, d.seconds, d.results, true) as l(id)
    where d.ids is not null;
    gone := coalesce(gone, '{}');
    if tells and gone <> '{}' then
      perform pgsched.notify('pgsched_events', json_build_object(
        'event', 'completed', 'id', e.task_id, 'task_type', e.task_type, 'queue', e.queue, 'attempt', e.attempt,
        'at', to_char(e.finished_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'duration', round((e.duration_ms / 1000)::numeric, 6),
        'error', null)::text)
      from jsonb_to_recordset(outcomes) as d(id bigint, fencing_token bigint)
      join pgsched.executions e on e.task_id = d.id and e.fencing_token = d.fencing_token and e.worker_id = worker
      join pgsched.queues q on q.name = e.queue and q.events
      where d.id = any(gone);
    end if;
  end if;
  with done as materialized (
    select d.id, d.fencing_token, d.result, d.seconds
    from jsonb_to_recordset(outcomes) as d(
      id bigint, fencing_token bigint, outcome text, result jsonb, seconds double precision)
    where d.outcome = 'completed' and d.id <> all(gone)
    order by d.id
  ),
  held as materialized (
    select done.*
    from done
    cross join lateral (
      select from pgsched.tasks t
      where t.id = any(array[done.id]) and t.fencing_token = done.fencing_token and t.locked_by = worker
        and t.status = 'running' and t.schedule_type = 'one_time'
      for no key update skip locked) h
  ),
  finished as (
    update pgsched.tasks t
    set status = 'completed', next_run_at = null, completed_at = statement_timestamp(), locked_by = null, locked_until = null,
      last_run_at = case when held.seconds is null then t.started_at
        else statement_timestamp() - held.seconds * interval '1 second' end,
      execution_count = t.execution_count + 1, result = held.result, last_error = null, updated_at = statement_timestamp()
    from held
    where t.id = any(array[held.id])
    returning t.id, t.task_type, t.queue, t.attempts, t.fencing_token, t.scheduled_for, t.last_run_at, t.completed_at, t.result, t.observed
  ),
  history as (
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, result)
    select f.id, f.task_type, f.queue, f.attempts, f.fencing_token, f.scheduled_for, worker, 'completed', f.last_run_at,
      f.completed_at, extract(epoch from f.completed_at - f.last_run_at) * 1000, f.result
    from finished f
  ),
  told as (
    select pgsched.notify('pgsched_events', json_build_object(
      'event', 'completed', 'id', f.id, 'task_type', f.task_type, 'queue', f.queue, 'attempt', f.attempts,
      'at', to_char(f.completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'duration', round(extract(epoch from f.completed_at - f.last_run_at), 6), 'error', null)::text)
    from finished f join pgsched.queues q on q.name = f.queue
    where tells and q.events
  )
  select coalesce(array_agg(f.id), '{}'), array_agg(f.id) filter (where f.observed) into ids, ended
  from finished f, (select count(*) from told) o;
  if ended is not null then
    perform pgsched.settle(ended);
  end if;
  written := cardinality(ids) + cardinality(gone);
  fenced := '{}';
  locked := '{}';
  if written = given then
    return;
  end if;
  select jsonb_agg(d) into others from jsonb_array_elements(outcomes) d
  where (d ->> 'id')::bigint <> all(ids) and (d ->> 'id')::bigint <> all(gone);
  ids := ids || pgsched.write_outcomes(worker, coalesce(others, '[]'));
  if outcomes @> '[{"outcome": "ended"}]' then
    -- A tick that is a task of its own (overlap = allow) ends the schedule that it belongs to.
    with over as (
      update pgsched.tasks p
      set status = 'completed', next_run_at = null, completed_at = statement_timestamp(), attempts = 0, locked_by = null,
        locked_until = null, result = t.result, updated_at = statement_timestamp()
      from jsonb_to_recordset(outcomes) as d(id bigint, fencing_token bigint, outcome text)
      join pgsched.tasks t on t.id = d.id and t.fencing_token = d.fencing_token and t.status = 'completed'
      where d.outcome = 'ended' and d.id = any(ids) and p.id = t.parent_id and p.overlap = 'allow'
        and p.status in ('pending', 'running')
        and t.idempotency_key = format('tick:%s:%s', p.id, extract(epoch from t.scheduled_for))
      returning p.id, p.observed
    )
    select array_agg(o.id) into ended from over o where o.observed;
    if ended is not null then
      perform pgsched.settle(ended);
    end if;
  end if;
  written := cardinality(ids) + cardinality(gone);
  if written = given then
    return;
  end if;
  select coalesce(array_agg(m.id) filter (where m.held), '{}'), coalesce(array_agg(m.id) filter (where not m.held and not m.noted), '{}'),
    written + count(*) filter (where not m.held and m.noted)
  into locked, fenced, written
  from (
    select d.id,
      exists (
        select from pgsched.tasks t
        where t.id = d.id and t.fencing_token = d.fencing_token and t.locked_by = worker and t.status = 'running') as held,
      exists (
        select from pgsched.executions e
        where e.task_id = d.id and e.fencing_token = d.fencing_token and e.worker_id = worker
          and e.status <> 'lost' and (e.status <> 'cancelled' or e.attempt = 0)) as noted
    from jsonb_to_recordset(outcomes) as d(id bigint, fencing_token bigint)
    where d.id <> all(ids) and d.id <> all(gone)
  ) m;
end $$;

-- Says that a worker lives, and renews its leases. Call it every third of a lease. Returns whether the worker is on the
-- list (if not, register it again), what it was asked to do (pause, drain or null), how many leases were renewed, and
-- the ids of tasks that were cancelled, or are another's: stop their handlers, what they return is not written.
-- worker: Its id.
-- ids: The tasks that it has.
-- fencing_tokens: The tokens of their claims, in the same order.
-- running: How many of its slots are occupied.
-- lease: For how long, from now on.
-- state: active, paused or draining.
create function pgsched.beat(
  worker uuid, ids bigint[], fencing_tokens bigint[], running integer default 0,
  lease interval default '00:00:30'::interval, state text default 'active', out registered boolean, out request text,
  out renewed integer, out cancelled bigint[], out lost bigint[]
) returns record
language plpgsql
set enable_seqscan = 'off' set enable_bitmapscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- As sql/queries/beat.sql: a row that another session has locked is not waited for, and a later beat renews it.
begin
  if cardinality(ids) is distinct from cardinality(fencing_tokens) or cardinality(ids) > 10000 then
    raise invalid_parameter_value using message = format(
      'ids and fencing_tokens must be of one length, at most 10000, got %s and %s', cardinality(ids), cardinality(fencing_tokens));
  end if;
  perform pgsched.check_worker_call(array['-'], '{}', 1, 1, lease);
  update pgsched.workers w set heartbeat_at = now(), running = beat.running, state = beat.state
  where w.id = worker
  returning w.request into request;
  registered := found;
  with held as materialized (
    select h.id, h.token from unnest(ids, fencing_tokens) as h(id, token) order by h.id
  ),
  own as materialized (
    select h.id, h.token from held h
    join pgsched.tasks t on t.id = any(array[h.id]) and t.fencing_token = h.token and t.locked_by = worker and t.status = 'running'
  ),
  free as materialized (
    select f.id from own
    cross join lateral (
      select t.id from pgsched.tasks t
      where t.id = any(array[own.id]) and t.fencing_token = own.token and t.locked_by = worker and t.status = 'running'
      for no key update skip locked) f
  ),
  renewed_rows as (
    update pgsched.tasks t set locked_until = now() + lease from free where t.id = any(array[free.id]) returning t.id
  ),
  gone as materialized (
    select h.id, exists (select from pgsched.tasks t where t.id = h.id and t.status = 'cancelled') as cancelled
    from held h where not exists (select from own where own.id = h.id)
  )
  select (select count(*) from renewed_rows), coalesce(array_agg(g.id) filter (where g.cancelled), '{}'),
    coalesce(array_agg(g.id) filter (where not g.cancelled), '{}')
  into renewed, cancelled, lost
  from gone g;
end $$;

-- Gives claimed tasks back that were not begun, or that a stopping worker interrupted, with the attempt that the claim
-- counted. Returns how many; those that are another's, or locked by another session, are left as they are.
-- worker: Its id.
-- ids: The tasks.
-- fencing_tokens: The tokens of their claims, in the same order.
create function pgsched.release(worker uuid, ids bigint[], fencing_tokens bigint[]) returns integer
language plpgsql
set enable_seqscan = 'off' set enable_bitmapscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- As sql/queries/release_tasks.sql.
declare
  released integer;
  queues text[];
begin
  if cardinality(ids) is distinct from cardinality(fencing_tokens) or cardinality(ids) > 10000 then
    raise invalid_parameter_value using message = format(
      'ids and fencing_tokens must be of one length, at most 10000, got %s and %s', cardinality(ids), cardinality(fencing_tokens));
  end if;
  with held as materialized (
    select h.id, h.token from unnest(ids, fencing_tokens) as h(id, token) order by h.id
  ),
  own as materialized (
    select o.id from held h
    cross join lateral (
      select t.id from pgsched.tasks t
      where t.id = any(array[h.id]) and t.fencing_token = h.token and t.locked_by = worker and t.status = 'running'
      for no key update skip locked) o
  ),
  released_rows as (
    update pgsched.tasks t
    set status = 'pending', locked_by = null, locked_until = null, attempts = greatest(t.attempts - 1, 0)
    from own where t.id = any(array[own.id])
    returning t.queue::text as queue
  )
  select count(*), array_agg(distinct r.queue) into released, queues from released_rows r;
  perform pgsched.wake_sleepers(q.name, now()) from unnest(queues) as q(name);
  return released;
end $$;

-- Says that a worker sleeps, so that an insert into one of its queues that is due before notifies the channel pgsched.
-- Claim once more right after it: what was inserted while the worker fell asleep notified nobody. Returns the seconds
-- until the next task is due; null when the worker is not on the list. A claim that takes something ends the sleep.
-- worker: Its id.
-- longest: At most for so long, up to a minute.
create function pgsched.sleep(worker uuid, longest interval default '00:01:00'::interval) returns double precision
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' set enable_bitmapscan = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- As sql/queries/fall_asleep.sql.
declare
  seconds double precision;
begin
  if longest is null or longest not between interval '0' and interval '1 minute' then
    raise invalid_parameter_value using message = format(
      'longest must be between 0 and 1 minute, got %s', coalesce(longest::text, 'null'));
  end if;
  update pgsched.workers w
  set sleeping_until = least(now() + longest, (
    select min(due.next_run_at)
    from unnest(w.queues) as q(name)
    cross join generate_series(1, 10) as p(priority)
    cross join lateral (
      select t.next_run_at
      from pgsched.tasks t
      where t.queue = q.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at > now()
      order by t.next_run_at
      limit 1) due))
  where w.id = worker
  returning extract(epoch from w.sleeping_until - now())::double precision into seconds;
  return seconds;
end $$;

-- Shows people how far a running task is. False: it is no longer the worker's.
-- worker: Its id.
-- id: The task.
-- fencing_token: The token of its claim.
-- progress: Any JSON value.
create function pgsched.report_progress(worker uuid, id bigint, fencing_token bigint, progress jsonb) returns boolean
language plpgsql as $$
#variable_conflict use_variable
begin
  update pgsched.tasks t set progress = report_progress.progress
  where t.id = report_progress.id and t.fencing_token = report_progress.fencing_token and t.locked_by = worker and t.status = 'running';
  return found;
end $$;

-- What must be done where no Python worker runs, once a minute: makes partitions of the history, cancels tasks that
-- expired unclaimed, takes workers off the list that died. Returns how many tasks expired.
create function pgsched.upkeep() returns integer
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  expired integer;
begin
  delete from pgsched.set_aside s where s.worker_id in (
    select w.id from pgsched.workers w where w.heartbeat_at < now() - 3 * w.lease);
  delete from pgsched.workers w where w.heartbeat_at < now() - 3 * w.lease;
  perform pgsched.make_partitions();
  select pgsched.expire_tasks(1000) into expired;
  return expired;
end $$;

-- For workers: refuses what a worker must not ask for.
create function pgsched.check_worker_call(
  queues text[], task_types text[], number integer, highest integer, lease interval
) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if coalesce(cardinality(queues), 0) not between 1 and 1000 or array_position(queues, null) is not null then
    raise invalid_parameter_value using
      message = format('queues must be 1 to 1000 names, got %s', coalesce(left(queues::text, 100), 'null'));
  elsif task_types is null or cardinality(task_types) > 10000 or array_position(task_types, null) is not null then
    raise invalid_parameter_value using
      message = format('task_types must be at most 10000 names, got %s', coalesce(left(task_types::text, 100), 'null'));
  elsif number is null or number not between 1 and highest then
    raise invalid_parameter_value using
      message = format('the number of tasks must be between 1 and %s, got %s', highest, coalesce(number::text, 'null'));
  elsif lease is null or lease not between interval '1 second' and interval '1 day' then
    raise invalid_parameter_value using
      message = format('lease must be between 1 second and 1 day, got %s', coalesce(lease::text, 'null'));
  end if;
end $$;

-- For workers: what a claimed task says beside its payload; null when that is nothing.
create function pgsched.claim_details(task pgsched.tasks) returns jsonb
language sql stable as $$
  select case
    when task.task_name is null and task.tags = '{}' and task.metadata = '{}' and task.tenant_id is null
      and task.user_id is null and task.created_by is null and task.idempotency_key is null and task.parent_id is null
      and task.depends_on = '{}' and task.schedule_type = 'one_time' and task.priority = 5 then null
    else jsonb_strip_nulls(jsonb_build_object(
      'task_name', task.task_name, 'tags', nullif(task.tags, '{}'), 'metadata', nullif(task.metadata, '{}'),
      'tenant_id', task.tenant_id, 'user_id', task.user_id, 'created_by', task.created_by,
      'idempotency_key', task.idempotency_key, 'parent_id', task.parent_id, 'depends_on', nullif(task.depends_on, '{}'),
      'schedule_type', nullif(task.schedule_type, 'one_time'), 'priority', nullif(task.priority, 5))) end
$$;

-- For workers: decides what becomes of claimed tasks that a handler may not simply run: schedules, groups, tasks that
-- expired or used up their attempts. Returns the ids of those to run.
create function pgsched.judge_claimed(worker uuid, ids bigint[], lost boolean[]) returns setof bigint
language plpgsql as $$
#variable_conflict use_variable
-- As judge in pgsched/domain/lifecycle.py, for rows that this transaction has claimed. Groups are fired and joined here.
declare
  moment constant timestamptz := clock_timestamp();
  task pgsched.tasks;
  tick timestamptz;
  admission record;
  superseded boolean;
  outcomes jsonb := '[]';
  verdict jsonb;
  joined record;
begin
  for place in 1..cardinality(ids) loop
    select * into task from pgsched.tasks t
    where t.id = ids[place] and t.locked_by = worker and t.status = 'running';
    continue when not found;
    verdict := null;
    tick := task.scheduled_for;
    if task.schedule_type = 'one_time' then
      if task.attempts > task.max_attempts then
        verdict := jsonb_build_object('outcome', 'exhausted');
      elsif task.expires_at <= moment and task.attempts <= 1 and task.last_run_at is null then
        verdict := jsonb_build_object('outcome', 'expired', 'error', format('expired: it had not started by %s',
          to_char(task.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')));
      end if;
    elsif tick is null then
      verdict := jsonb_build_object('outcome', 'unplanned');
    elsif task.attempts > task.max_attempts and task.overlap <> 'allow' then
      verdict := jsonb_build_object('outcome', 'exhausted');
    else
      -- An attempt after one that was lost is measured like the first when the next tick has come meanwhile.
      superseded := lost[place] and coalesce(
        pgsched.due_at(task.id, pgsched.tick_after(task, tick), task.jitter) <= moment, false);
      if task.fired is null and (task.attempts = 1 or superseded) then
        admission := pgsched.admit_tick(task, moment);
        if admission.missed > 0 then
          insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
          values (task.id, task.task_type, task.queue, task.on_missed, admission.missed, tick,
            coalesce(admission.run, admission.next_tick));
        end if;
        if admission.run is null then
          verdict := jsonb_build_object('outcome', 'passed', 'next_tick', admission.next_tick);
        elsif admission.run <> tick then
          update pgsched.tasks t set scheduled_for = admission.run where t.id = task.id;
          task.scheduled_for := admission.run;
        end if;
      end if;
      if verdict is null and task.overlap = 'allow' then
        verdict := jsonb_build_object('outcome', 'spawned');
      end if;
    end if;
    if verdict ->> 'outcome' = 'exhausted' then
      verdict := verdict || jsonb_build_object('error', format('all %s attempts are used up', task.max_attempts)
        || case when lost[place] then '; in the last one its worker died or was cut off while it ran' else '' end);
    end if;
    if verdict is null and task.task_type = 'pgsched.group' then
      begin
        if task.fired is null then
          perform pgsched.fire_group(task.id, task.fencing_token);
          continue;
        end if;
        select * into joined from pgsched.join_group(task.id, task.fencing_token);
        verdict := jsonb_build_object('outcome', case when joined.ok then 'completed' else 'discarded' end,
          'result', joined.result, 'error', joined.error, 'seconds', joined.seconds);
      exception when integrity_constraint_violation or data_exception or raise_exception then
        verdict := jsonb_build_object('outcome', 'discarded', 'error', sqlerrm);
      end;
    end if;
    if verdict is null then
      return next task.id;
    else
      outcomes := outcomes || (verdict || jsonb_build_object('id', task.id, 'fencing_token', task.fencing_token));
    end if;
  end loop;
  if outcomes <> '[]' then
    begin
      perform pgsched.write_outcomes(worker, outcomes);
    exception when integrity_constraint_violation or data_exception or raise_exception or triggered_action_exception then
      -- One that the database refuses costs no other; its lease runs out, and it is judged again.
      for place in 0..jsonb_array_length(outcomes) - 1 loop
        begin
          perform pgsched.write_outcomes(worker, jsonb_build_array(outcomes -> place));
        exception when integrity_constraint_violation or data_exception or raise_exception or triggered_action_exception then
          raise warning 'the end of task % is refused: %', outcomes -> place ->> 'id', sqlerrm;
        end;
      end loop;
    end;
  end if;
end $$;

-- For workers: what pgsched.finish and pgsched.claim write of tasks that are not simply completed. Returns the ids that
-- passed the fence.
create function pgsched.write_outcomes(worker uuid, outcomes jsonb) returns bigint[]
language plpgsql
set enable_seqscan = 'off' set enable_bitmapscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- The rules of conclude and judge in pgsched/domain/lifecycle.py and the statement of sql/queries/finish_tasks.sql in one:
-- what follows from an outcome is read from the row, which is locked first. Beside the outcomes that workers report there
-- are those of pgsched.judge_claimed: exhausted, expired, spawned, passed (nothing ran) and unplanned. A tick that is over
-- is followed by the one that pgsched.rebook books, as if the schedule had been edited meanwhile: that is right either way.
declare
  ids bigint[];
  ended bigint[];
begin
  with done as materialized (
    select d.id, d.fencing_token as token, d.outcome, d.result, d.error, coalesce(d.seconds, 0) as seconds, d.retry_in,
      d.next_tick, d.seconds is null as unmeasured
    from jsonb_to_recordset(outcomes) as d(
      id bigint, fencing_token bigint, outcome text, result jsonb, error text, seconds double precision,
      retry_in double precision, next_tick timestamptz)
    order by d.id
  ),
  held as materialized (
    select done.*, h.task, case when done.unmeasured and done.outcome in ('completed', 'ended', 'failed', 'timed_out', 'discarded', 'snoozed')
      then (h.task).started_at else statement_timestamp() - done.seconds * interval '1 second' end as started
    from done
    cross join lateral (
      select t as task
      from pgsched.tasks t
      where t.id = any(array[done.id]) and t.fencing_token = done.token and t.locked_by = worker and t.status = 'running'
      for no key update skip locked) h
  ),
  judged as materialized (
    -- A task that was snoozed too often (MAX_SNOOZES of the Python worker) has failed.
    select held.*, (held.task).schedule_type = 'one_time' as one_time, (held.task).attempts::integer as attempts,
      case when held.outcome <> 'snoozed' then held.outcome when often.snoozed >= 100 then 'failed' else 'snoozed' end as kind,
      case when held.outcome = 'snoozed' and often.snoozed >= 100
        then concat_ws(' ', held.error, '(max_snoozes is 100, so it counts as a failed attempt)') else held.error end as reason
    from held
    left join lateral (
      select count(*) as snoozed
      from pgsched.executions e
      where held.outcome = 'snoozed' and e.task_id = held.id and e.status = 'cancelled' and e.attempt = 0
        and e.fencing_token > coalesce((
          select max(c.fencing_token) from pgsched.executions c where c.task_id = held.id and c.attempt > 0), 0)) often on true
  ),
  concluded as materialized (
    select j.*,
      j.kind = 'discarded' or j.kind in ('failed', 'timed_out') and j.attempts >= (j.task).max_attempts or j.kind = 'exhausted' as dies,
      case j.kind when 'completed' then 'completed' when 'ended' then 'completed' when 'failed' then 'failed'
        when 'discarded' then 'failed' when 'timed_out' then 'timed_out' when 'snoozed' then 'snoozed'
        when 'expired' then 'cancelled' end as execution
    from judged j
  ),
  target as materialized (
    select c.*,
      case when c.one_time then c.kind in ('completed', 'ended')
        else c.kind in ('completed', 'ended', 'spawned') or c.dies and (c.task).scheduled_for is not null end as counted,
      not c.one_time and c.dies and (c.task).scheduled_for is not null as dead_lettered,
      case
        when c.one_time or c.kind = 'ended' or (c.task).scheduled_for is null then null
        when c.kind = 'passed' then c.next_tick
        when c.kind in ('spawned', 'exhausted') then
          case when (c.task).execution_count + 1 >= (c.task).repeat_count then null
            else pgsched.tick_after(c.task, (c.task).scheduled_for) end
        when c.kind = 'completed' or c.dies then pgsched.rebook(c.task, (c.task).scheduled_for, null, c.started, true) end as booked,
      -- Whether the row goes on with the tick that is booked.
      not c.one_time and (c.task).scheduled_for is not null
        and (c.kind in ('completed', 'passed', 'spawned') or c.dies) as moves,
      case when c.kind = 'snoozed' then coalesce(c.retry_in, 0)
        when c.kind in ('failed', 'timed_out') and not c.dies then coalesce(c.retry_in, pgsched.retry_delay(
          (c.task).backoff::text, c.attempts, extract(epoch from (c.task).backoff_delay)::double precision,
          extract(epoch from (c.task).backoff_max)::double precision, random(), (c.task).backoff_factor::double precision,
          (c.task).backoff_jitter::double precision)) end as delay
    from concluded c
  ),
  finished as (
    update pgsched.tasks t
    set status = case
        when target.moves then case when target.booked is null then 'completed' else 'pending' end
        when target.kind in ('completed', 'ended') then 'completed'
        when target.dies then 'dead'
        when target.kind = 'expired' then 'cancelled'
        else 'pending' end,
      next_run_at = case
        when target.moves then pgsched.due_at(t.id, target.booked, t.jitter)
        when target.delay is not null then statement_timestamp() + target.delay * interval '1 second'
        when target.kind = 'unplanned' then t.next_run_at end,
      scheduled_for = coalesce(case when target.moves then target.booked end, t.scheduled_for),
      attempts = case when target.moves or target.kind in ('unplanned', 'expired') or target.kind = 'ended' and not target.one_time then 0
        when target.kind = 'snoozed' then greatest(t.attempts - 1, 0)
        when target.kind = 'exhausted' then t.max_attempts else t.attempts end,
      execution_count = t.execution_count + target.counted::integer,
      locked_by = null, locked_until = null, unbegun_token = null,
      completed_at = case when target.moves and target.booked is null or not target.moves and not target.dies
        and target.kind in ('completed', 'ended', 'expired') then statement_timestamp() end,
      died_at = case when target.dies and not target.moves then statement_timestamp() end,
      last_run_at = case when target.execution is null then t.last_run_at else target.started end,
      result = case when target.execution = 'completed' then target.result else t.result end,
      last_error = case when target.execution = 'completed' then null else coalesce(target.reason, t.last_error) end,
      fired = case when target.moves and target.booked is not null or target.delay is not null then null else t.fired end,
      updated_at = statement_timestamp()
    from target
    where t.id = any(array[target.id])
    returning t.id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id,
      t.created_by, t.timezone, t.status, t.next_run_at, t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max,
      t.backoff_factor, t.backoff_jitter, t.timeout,
      t.execution_count, t.last_run_at, t.jitter, t.concurrency_key, t.observed, t.fencing_token,
      target.execution, (target.task).scheduled_for as tick, target.attempts as attempt, target.seconds, target.unmeasured,
      target.result as new_result, target.reason as error, target.dead_lettered, target.kind = 'spawned' as spawned
  ),
  children as (
    insert into pgsched.tasks (
      task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
      scheduled_for, timezone, status, died_at, attempts, max_attempts, backoff, backoff_delay, backoff_max,
      backoff_factor, backoff_jitter, timeout, execution_count, last_run_at, last_error, parent_id, idempotency_key,
      concurrency_key, observed, jitter, next_run_at, on_missed, overlap, dependency_mode, on_dependency_dead)
    select f.task_type, f.task_name, f.queue, f.priority, f.payload, f.metadata, f.tags, f.tenant_id, f.user_id, f.created_by,
      'one_time', f.tick, f.timezone, case when f.dead_lettered then 'dead' else 'pending' end,
      case when f.dead_lettered then statement_timestamp() end,
      case when f.dead_lettered then least(f.attempt, f.max_attempts) else 0 end, f.max_attempts, f.backoff, f.backoff_delay,
      f.backoff_max, f.backoff_factor, f.backoff_jitter, f.timeout, f.execution_count - 1,
      case when f.dead_lettered then f.last_run_at end,
      case when f.dead_lettered then f.error end, f.id,
      case when f.spawned then format('tick:%s:%s', f.id, extract(epoch from f.tick)) end,
      f.concurrency_key, f.spawned and f.observed, case when f.spawned then f.jitter end,
      case when f.spawned then pgsched.due_at(f.id, f.tick, f.jitter) end,
      'once', 'skip', 'all', 'cancel'
    from finished f
    where f.dead_lettered or f.spawned
    on conflict (idempotency_key) where idempotency_key is not null do nothing
  ),
  history as (
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, result, error)
    select f.id, f.task_type, f.queue, case when f.execution = 'snoozed' then 0 else f.attempt end, f.fencing_token, f.tick,
      worker, case when f.execution = 'snoozed' then 'cancelled' else f.execution end, f.last_run_at,
      case when f.unmeasured then statement_timestamp() else f.last_run_at + f.seconds * interval '1 second' end,
      case when f.unmeasured then extract(epoch from statement_timestamp() - f.last_run_at) else f.seconds end * 1000,
      case when f.execution = 'completed' then f.new_result end, f.error
    from finished f
    where f.execution is not null
  ),
  woken as (
    select pgsched.notify('pgsched', next.queue)
    from (select f.queue::text as queue, min(f.next_run_at) as due from finished f where f.status = 'pending' group by f.queue) next
    where exists (
      select from pgsched.workers w
      where w.id <> worker and w.sleeping_until > next.due
        and (w.queues @> array[next.queue] or next.queue like any (w.patterns)))
  ),
  told as (
    select pgsched.notify('pgsched_events', json_build_object(
      'event', case when f.dead_lettered or f.status = 'dead' then 'dead' when f.execution = 'cancelled' then 'cancelled'
        when f.execution = 'completed' then 'completed' else 'failed' end,
      'id', f.id, 'task_type', f.task_type, 'queue', f.queue, 'attempt', f.attempt,
      'at', to_char(statement_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'duration', case when f.execution is not null then round(f.seconds::numeric, 6) end,
      'error', left(split_part(f.error, e'\n', 1), 500))::text)
    from finished f
    where (f.dead_lettered or f.status = 'dead' or coalesce(f.execution, 'snoozed') <> 'snoozed')
      and exists (select from pgsched.queues q where q.name = f.queue and q.events)
  )
  select coalesce(array_agg(f.id), '{}'), array_agg(f.id) filter (
      where f.observed and (f.status in ('completed', 'dead', 'cancelled') or f.execution = 'completed'))
  into ids, ended
  from finished f, (select count(*) from woken) w, (select count(*) from told) o;
  if ended is not null then
    perform pgsched.settle(ended);
  end if;
  return ids;
end $$;

-- For workers: the seconds until the next attempt after one that failed. chance is a random number from 0 to 1, which
-- spreads the retries of tasks that failed together.
create function pgsched.retry_delay(
  backoff text, attempt integer, delay double precision, longest double precision, chance double precision,
  factor double precision default 2, jitter double precision default 0.2
) returns double precision
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
-- As retry_delay in pgsched/domain/backoff.py. A power that overflows is longer than any longest delay.
select least(
  d.plain * (1 - d.jitter) + d.chance * (least(d.plain * (1 + d.jitter), d.longest) - d.plain * (1 - d.jitter)), d.longest)
from (
  select coalesce(retry_delay.jitter, 0.2) as jitter, greatest(retry_delay.longest, retry_delay.delay) as longest,
    retry_delay.chance, case when retry_delay.delay = 0 then 0 else least(greatest(retry_delay.longest, retry_delay.delay),
      retry_delay.delay * case retry_delay.backoff
        when 'linear' then retry_delay.attempt
        when 'fixed' then 1
        else case when (retry_delay.attempt - 1) * ln(coalesce(retry_delay.factor, 2)) > 600 then 'infinity'
          else coalesce(retry_delay.factor, 2) ^ (retry_delay.attempt - 1) end end) end as plain) d
$$;

-- For workers: what on_missed decides of a due tick that makes its first attempt: the tick to run, or the one to book
-- instead, and how many were dropped.
create function pgsched.admit_tick(
  task pgsched.tasks, moment timestamptz, out run timestamptz, out next_tick timestamptz, out missed integer
) returns record
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- As admit in pgsched/domain/scheduling/recurrence.py: `run` is the tick to run now; null: run nothing and book `next_tick`.
declare
  late constant interval := interval '10 seconds';
  tick constant timestamptz := task.scheduled_for;
  is_late constant boolean := moment - task.next_run_at > late;
  due timestamptz := task.next_run_at;
  oldest timestamptz := '-infinity';
  following timestamptz;
  latest timestamptz;
begin
  missed := 0;
  if task.execution_count >= task.repeat_count then
    return;
  end if;
  following := pgsched.tick_after(task, tick);
  if not is_late and (following is null or following > moment) then
    run := tick;
    return;
  end if;
  latest := pgsched.latest_tick(task, moment);
  if latest = tick and not is_late then
    run := tick;
    return;
  end if;
  if task.catchup_window is not null and extract(epoch from task.catchup_window) < 60000000000 then
    oldest := moment - make_interval(secs => extract(epoch from task.catchup_window)::double precision);
  end if;
  if task.on_missed = 'all' then
    if due >= oldest then
      run := tick;
      return;
    end if;
    latest := pgsched.latest_tick(task, oldest - interval '1 microsecond');
    missed := pgsched.count_ticks(task, tick, latest);
    following := pgsched.tick_after(task, latest);
    if pgsched.due_at(task.id, following, task.jitter) <= moment then
      run := following;
    else
      next_tick := following;
    end if;
    return;
  end if;
  if latest <> tick then
    due := pgsched.due_at(task.id, latest, task.jitter);
  end if;
  missed := pgsched.count_ticks(task, tick, latest);
  if (case when task.on_missed = 'skip' then moment - due <= late else due >= oldest end) then
    run := latest;
    missed := missed - 1;
  else
    next_tick := pgsched.tick_after(task, latest);
  end if;
end $$;

-- For workers: the last tick of a schedule that is due at an instant; the one that it is booked for when none came
-- after.
create function pgsched.latest_tick(task pgsched.tasks, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- As _latest in pgsched/domain/scheduling/recurrence.py, which walks backwards. Here ticks are only found forwards: so the
-- span before the instant is doubled until a tick is in it, and what is behind that tick is halved.
declare
  tick constant timestamptz := task.scheduled_for;
  first constant timestamptz := greatest(tick + interval '1 microsecond', task.planned_from);
  until timestamptz := least(moment, task.end_date);
  span interval;
  low timestamptz;
  high timestamptz;
  found_tick timestamptz;
begin
  loop
    low := pgsched.first_tick(task, first);
    if low is null or low > until then
      return tick;
    end if;
    high := until;
    span := interval '1 second';
    while until - span > low loop
      found_tick := pgsched.first_tick(task, until - span);
      if found_tick <= until then
        low := found_tick;
        exit;
      end if;
      high := until - span;
      span := span * 4;
    end loop;
    loop
      found_tick := pgsched.first_tick(task, low + interval '1 microsecond');
      exit when found_tick is null or found_tick > until;
      low := found_tick;
      found_tick := pgsched.first_tick(task, low + (high - low) / 2);
      if found_tick <= until then
        low := found_tick;
      else
        high := low + (high - low) / 2;
      end if;
    end loop;
    if pgsched.due_at(task.id, low, task.jitter) <= moment then
      return low;
    end if;
    until := low - interval '1 microsecond';
  end loop;
end $$;

-- For workers: the first tick of a schedule strictly after an instant; null when there is none.
create function pgsched.tick_after(task pgsched.tasks, moment timestamptz) returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp as $$
  select pgsched.first_tick(task, greatest(tick_after.moment + interval '1 microsecond', (tick_after.task).planned_from))
$$;

-- For workers: the number of ticks between two, both included; 1000 means at least 1000.
create function pgsched.count_ticks(task pgsched.tasks, first timestamptz, last timestamptz) returns integer
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- One by one, so no further than COUNT_LIMIT of pgsched/domain/scheduling/recurrence.py.
declare
  ticks integer := 0;
  tick timestamptz := first;
begin
  while tick <= last and ticks < 1000 loop
    ticks := ticks + 1;
    tick := pgsched.tick_after(task, tick);
  end loop;
  return ticks;
end $$;

-- For programs of earlier releases ------------------------------------------------------------------------------------
-- No longer called by anything above.

-- For workers: claims from several queues with limits or ageing, in their order.
create function pgsched.claim_apart(
  queues text[], rooms integer[], room integer, most_bytes bigint, worker uuid, lease double precision,
  task_types text[]
) returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint
)
language plpgsql as $$
#variable_conflict use_variable
-- Claims from several queues that are claimed apart, in their order, up to so many rows of each and of all.
declare
  answer record;
begin
  for place in 1..cardinality(queues) loop
    exit when most_bytes <= 0;
    for answer in
      select * from pgsched.claim_from(queues[place], worker, lease, task_types, least(rooms[place], room), most_bytes)
    loop
      asked := answer.asked;
      again := answer.again;
      held_back := answer.held_back;
      noted := answer.noted;
      task := answer.task;
      lease_expired := answer.lease_expired;
      size := answer.size;
      if answer.size is not null then
        room := room - 1;
        most_bytes := most_bytes - answer.size;
      end if;
      return next;
    end loop;
  end loop;
end $$;

-- For workers: claims due rows of one queue with limits or ageing, as many as these allow; the last row says when to
-- ask again.
create function pgsched.claim_from(
  name text, worker uuid, lease double precision, task_types text[], room integer, most_bytes bigint
) returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint
)
language plpgsql as $$
#variable_conflict use_variable
-- Claims up to `room` due rows of one queue, and no more than its limits allow. Last comes a row without a task that says
-- when it makes sense to ask again: `again` in seconds (0: at once; null: when something becomes due), whether a limit of
-- concurrency holds rows back until others end, and as when the starts of this claim were noted.
declare
  queue pgsched.queues;
  moment timestamptz;
  span interval;
  horizon timestamptz;
  bucket interval;
  concurrency integer;
  per_key integer;
  rate integer;
  rate_per_key integer;
  free integer := room;
  full_up boolean := false;
  oldest timestamptz;
  number integer;
  ids bigint[];
  taken integer;
begin
  asked := name;
  held_back := false;
  select * into queue from pgsched.queues q where q.name = claim_from.name;
  if queue.apart then
    select * into queue from pgsched.queues q where q.name = claim_from.name for no key update skip locked;
    if not found then
      -- Somebody else is claiming from it, and is done in a moment; or edits it, and takes as long as he likes.
      begin
        perform set_config('lock_timeout', '30ms', true);
        select * into queue from pgsched.queues q where q.name = claim_from.name for no key update;
      exception when lock_not_available then
        again := 0.003;
        return next;
        return;
      end;
    end if;
  end if;
  if queue.paused then
    return next;
    return;
  end if;
  -- Not now(): the claim that held the row before this one began later than it was begun.
  moment := clock_timestamp();
  concurrency := (queue.limits ->> 'concurrency')::integer;
  per_key := (queue.limits ->> 'concurrency_per_key')::integer;
  rate := (queue.limits ->> 'rate')::integer;
  rate_per_key := (queue.limits ->> 'rate_per_key')::integer;

  if concurrency is not null or per_key is not null then
    if queue.limits_changed_at > moment - interval '2 seconds' then
      perform pgsched.adopt_slots(name);
    end if;
    delete from pgsched.slots s
    where s.queue = name and not exists (
      select from pgsched.tasks t
      where t.id = any(array[s.task_id]) and t.fencing_token = s.fencing_token and t.status = 'running'
        and t.locked_until >= now());
  end if;
  if concurrency is not null then
    select concurrency - count(*) into number from pgsched.slots s where s.queue = name;
    if number <= 0 then
      held_back := true;
      return next;
      return;
    end if;
    full_up := number <= free;
    free := least(free, number);
  end if;
  if rate is not null or rate_per_key is not null then
    span := make_interval(secs => extract(epoch from coalesce(queue.limits ->> 'per', '1 second')::interval));
    -- A handler begins some milliseconds after its claim, sooner or later: so much longer is the window.
    horizon := moment - greatest(span * 1.01, span + interval '10 milliseconds');
    bucket := span / 500;
    if random() < 0.01 then
      delete from pgsched.starts s where s.queue = name and s.at <= horizon;
    end if;
  end if;
  if rate is not null then
    delete from pgsched.starts s where s.queue = name and s.key = '' and s.at <= horizon;
    select rate - coalesce(sum(s.number), 0), min(s.at) into number, oldest
    from pgsched.starts s where s.queue = name and s.key = '' and s.at > horizon;
    if number <= 0 then
      again := extract(epoch from oldest - horizon);
      return next;
      return;
    end if;
    if number <= free then
      full_up := false;
      again := extract(epoch from coalesce(oldest, moment) - horizon);
    end if;
    free := least(free, number);
  end if;

  if room = 0 then
    -- Only to know whether there is something.
    again := case when exists (
      select from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types)
        order by t.next_run_at
        limit 1) t) then 0 end;
    return next;
    return;
  end if;
  if per_key is not null or rate_per_key is not null then
    select p.ids, p.held_back into ids, held_back
    from pgsched.pick_by_turns(
      name, task_types, free, per_key, rate_per_key, horizon, queue.ageing, queue.ordering = 'lifo') p;
  elsif queue.ageing is not null then
    ids := array(
      select c.id
      from (
        select t.id, t.next_run_at,
          p.priority + floor(extract(epoch from now() - t.next_run_at) / extract(epoch from queue.ageing)) as weight
        from generate_series(10, 1, -1) as p(priority)
        cross join lateral (
          select t.id, t.next_run_at
          from pgsched.tasks t
          where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
            and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
            and t.task_type = any(task_types)
          order by t.next_run_at, t.id
          limit free) t
      ) c
      order by c.weight desc, c.next_run_at, c.id
      limit free);
  elsif queue.ordering = 'lifo' then
    ids := array(
      select t.id
      from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select t.id
        from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types)
        order by t.next_run_at desc, t.id desc
        limit free
        for no key update skip locked) t
      limit free);
  else
    ids := array(
      select t.id
      from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select t.id
        from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types)
        order by t.next_run_at, t.id
        limit free
        for no key update skip locked) t
      limit free);
  end if;

  return query
  with fitting as materialized (
    -- As many as fit into so many bytes of payload, but one at least.
    select * from (
      select t.*, sum(t.bytes) over (order by p.place) - t.bytes as before
      from unnest(ids) with ordinality as p(id, place)
      cross join lateral (
        select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at,
          case when pg_column_compression(t.payload) is null then pg_column_size(t.payload)
            else octet_length(t.payload::text) end as bytes
        from pgsched.tasks t
        where t.id = any(array[p.id]) and t.queue = name and t.next_run_at is not null and t.enabled
          and (t.locked_until is null or t.locked_until < now())
        for no key update skip locked) t
    ) f
    where f.before < most_bytes
  ),
  lost as (
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, error)
    select t.id, t.task_type, t.queue, f.attempts, f.fencing_token, t.scheduled_for, f.locked_by, 'lost',
      f.started_at, now(), extract(epoch from now() - f.started_at) * 1000,
      'the lease of worker ' || f.locked_by || ' ran out'
    from fitting f join pgsched.tasks t on t.id = any(array[f.id])
    where f.locked_by is not null
  ),
  claimed as (
    update pgsched.tasks t
    set status = 'running', locked_by = claim_from.worker, locked_until = now() + claim_from.lease * interval '1 second',
      attempts = t.attempts + 1, fencing_token = t.fencing_token + 1, started_at = now()
    from fitting f
    where t.id = any(array[f.id])
    returning t as task, t.id, t.fencing_token, coalesce(t.concurrency_key::text, '') as key, f.locked_by is not null as expired,
      f.bytes
  ),
  occupied as (
    insert into pgsched.slots as s (queue, key, task_id, fencing_token)
    select name, c.key, c.id, c.fencing_token from claimed c
    where concurrency is not null or per_key is not null
    on conflict on constraint slots_pkey do update set fencing_token = excluded.fencing_token
  ),
  started as (
    insert into pgsched.starts as s (queue, key, since, at, number)
    select name, k.key, date_bin(bucket, moment, timestamptz '2000-01-01 00:00:00+00'), moment, k.number
    from (
      select '' as key, count(*)::integer as number from claimed c where rate is not null having count(*) > 0
      union all
      select c.key, count(*)::integer from claimed c where rate_per_key is not null and c.key <> '' group by c.key
    ) k
    on conflict on constraint starts_pkey do update
      set at = greatest(s.at, excluded.at), number = s.number + excluded.number
  )
  select name, null::double precision, null::boolean, null::timestamptz, c.task, c.expired, c.bytes::bigint from claimed c;
  get diagnostics taken = row_count;

  if taken < cardinality(ids) then
    again := 0;   -- others were in the way, or the payloads were large
    held_back := false;
  elsif taken < free then
    again := null;
    if held_back and rate_per_key is not null then
      select extract(epoch from min(s.at) - horizon) into again
      from pgsched.starts s where s.queue = name and s.key > '' and s.at > horizon;
    end if;
    held_back := held_back and per_key is not null;
  else
    held_back := full_up;
    if not full_up then
      again := coalesce(again, 0);   -- there was room for no more
    end if;
  end if;
  if taken > 0 and (rate is not null or rate_per_key is not null) then
    noted := moment;
  end if;
  return next;
end $$;

-- For workers: chooses due rows of a queue with limits per key; the keys take turns.
create function pgsched.pick_by_turns(
  name text, task_types text[], free integer, per_key integer, rate_per_key integer, horizon timestamptz,
  ageing interval, lifo boolean, out ids bigint[], out held_back boolean
) returns record
language plpgsql as $$
#variable_conflict use_variable
-- Up to `free` due rows of a queue with limits per key. The keys take turns, each claim begins after the key that was served
-- last. A row without a key has no limit of a key; all of them together take turns like one key.
declare
  few constant integer := 500;    -- so many due rows are looked through one by one
  step constant integer := 100;   -- keys that are looked at together
  longest constant integer := 1000;   -- keys that one claim looks at
  turn pgsched.turns;
  priorities smallint[];
  windowed integer;
  found_keys text[];
  keys text[] := '{}';
  rooms integer[] := '{}';
  keyless bigint[] := '{}';
  chunk text[];
  chunk_rooms integer[];
  looked_at integer := 0;
  visited text;
  wrapped boolean := false;
  last_place bigint;
begin
  ids := '{}';
  held_back := false;
  priorities := array(
    select p.priority
    from generate_series(10, 1, -1) as p(priority)
    cross join lateral (
      -- Ordered, so that it can be nothing but a probe of the index, whatever the statistics say.
      select from pgsched.tasks t
      where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now()
      order by t.next_run_at
      limit 1) t);
  if cardinality(priorities) = 0 then
    return;
  end if;
  select * into turn from pgsched.turns t where t.queue = name;
  turn.key := coalesce(turn.key, '');

  -- The first due rows. When they are all there are, their keys are all the keys that matter.
  select count(*), array_agg(distinct w.key) filter (where w.key is not null),
    coalesce((array_agg(w.id order by w.weight desc, w.turn, w.id) filter (where w.key is null))[1:free], '{}')
  into windowed, found_keys, keyless
  from (
    select d.id, d.concurrency_key as key, extract(epoch from d.next_run_at) * case when lifo then -1 else 1 end as turn,
      p.priority + coalesce(floor(extract(epoch from now() - d.next_run_at) / extract(epoch from ageing)), 0) as weight
    from unnest(priorities) as p(priority)
    cross join lateral (
      select t.id, t.concurrency_key::text, t.next_run_at
      from pgsched.tasks t
      where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
        and t.task_type = any(task_types)
      order by t.next_run_at, t.id
      limit few
    ) d
    limit few
  ) w;
  if windowed = 0 then
    return;
  end if;

  if windowed < few then
    keys := array(select k from unnest(found_keys) k order by k <= turn.key, k);
    rooms := pgsched.key_rooms(name, keys, per_key, rate_per_key, horizon, free);
    visited := keys[cardinality(keys)];
  else
    visited := turn.key;
    loop
      chunk := pgsched.next_keys(name, visited, step);
      if wrapped then
        chunk := array(select k from unnest(chunk) k where k <= turn.key order by k);
      end if;
      looked_at := looked_at + cardinality(chunk);
      if cardinality(chunk) > 0 then
        chunk_rooms := pgsched.key_rooms(name, chunk, per_key, rate_per_key, horizon, free);
        select keys || coalesce(array_agg(c.key order by c.place), '{}'),
          rooms || coalesce(array_agg(c.room order by c.place), '{}')
        into keys, rooms
        from (
          select c.key, c.room, c.place from unnest(chunk, chunk_rooms) with ordinality as c(key, room, place)
          where c.room > 0 and exists (
            select from pgsched.due_of_keys(name, task_types, array[c.key], array[1], priorities, ageing, lifo))
          limit free - cardinality(keys)) c;
        visited := chunk[cardinality(chunk)];
      end if;
      exit when cardinality(keys) >= free or looked_at >= longest;
      if cardinality(chunk) < step then
        exit when wrapped or turn.key = '';
        wrapped := true;
        visited := '';
      end if;
    end loop;
    if cardinality(keyless) = 0 then
      -- Rows without a key behind many that have one: each claim looks at the next thousand.
      with roamed as (
        select d.*, row_number() over () as place
        from unnest(priorities) as p(priority)
        cross join lateral (
          select t.priority::smallint, t.next_run_at::timestamptz, t.id,
            t.concurrency_key is null and (t.locked_until is null or t.locked_until < now())
              and t.task_type = any(task_types) as fits
          from pgsched.tasks t
          where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
            and t.next_run_at <= now()
            and (t.next_run_at, t.id) > (
              case when p.priority = turn.roamed_priority then turn.roamed_at else '-infinity' end,
              case when p.priority = turn.roamed_priority then turn.roamed_id else 0 end)
          order by t.next_run_at, t.id
          limit 2 * few
        ) d
        where p.priority <= coalesce(turn.roamed_priority, 10)
        limit 2 * few
      )
      select (array_agg(r.id order by r.place) filter (where r.fits))[1:free],
        (array_agg(r.priority order by r.place desc))[1], (array_agg(r.next_run_at order by r.place desc))[1],
        (array_agg(r.id order by r.place desc))[1]
      into keyless, turn.roamed_priority, turn.roamed_at, turn.roamed_id
      from roamed r
      having count(*) = 2 * few or count(*) filter (where r.fits) > 0;
      keyless := coalesce(keyless, '{}');
    end if;
  end if;

  select coalesce(array_agg(c.id order by c.round, c.place), '{}'),
    (array_agg(c.place order by c.round desc, c.place desc) filter (where c.place > 0))[1]
  into ids, last_place
  from (
    select r.id, r.round, r.place
    from (
      select d.id, d.round, d.place
      from pgsched.due_of_keys(name, task_types, keys, rooms, priorities, ageing, lifo) d
      union all
      select l.id, l.place, 0 from unnest(keyless) with ordinality as l(id, place)
    ) r
    order by r.round, r.place
    limit free
  ) c;
  held_back := cardinality(ids) < least(free, windowed);
  turn.queue := name;
  if windowed < few or cardinality(keys) >= free then
    visited := coalesce(keys[last_place], visited);
  end if;
  turn.key := coalesce(visited, turn.key);
  insert into pgsched.turns as t values (turn.*)
  on conflict (queue) do update set key = excluded.key, roamed_priority = excluded.roamed_priority,
    roamed_at = excluded.roamed_at, roamed_id = excluded.roamed_id;
end $$;

-- For workers: the due rows of some keys of a queue, of each as many as it has room for.
create function pgsched.due_of_keys(
  name text, task_types text[], keys text[], rooms integer[], priorities smallint[], ageing interval, lifo boolean
) returns table (place bigint, id bigint, round bigint)
language sql stable rows 10 as $$
-- The due rows of some keys, of each key so many as it has room, the first one in round 1.
select k.place, c.id, row_number() over (partition by k.place order by c.weight desc, c.turn, c.id)
from unnest(due_of_keys.keys, due_of_keys.rooms) with ordinality as k(key, room, place)
cross join lateral (
  select f.id, f.weight, f.turn
  from (
    select t.id, extract(epoch from t.next_run_at) * case when due_of_keys.lifo then -1 else 1 end as turn,
      p.priority + coalesce(floor(extract(epoch from now() - t.next_run_at) / extract(epoch from due_of_keys.ageing)), 0) as weight
    from unnest(due_of_keys.priorities) as p(priority)
    cross join lateral (
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where not due_of_keys.lifo and t.queue = due_of_keys.name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(due_of_keys.task_types)
        order by t.next_run_at, t.id
        limit k.room) first_in
      union all
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where due_of_keys.lifo and t.queue = due_of_keys.name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(due_of_keys.task_types)
        order by t.next_run_at desc, t.id desc
        limit k.room) last_in
    ) t
  ) f
  order by f.weight desc, f.turn, f.id
  limit k.room
) c
$$;

-- For workers: deletes the tasks of these that are completed, cancelled or dead, to the archive if that is said.
-- Returns how many of each.
create function pgsched.delete_finished(
  ids bigint[], archive boolean, out completed integer, out cancelled integer, out dead integer
) returns record
language sql security definer
set search_path = pg_catalog, pg_temp as $$
-- For programs before version 19.
select p.completed, p.cancelled, p.dead from pgsched.prune_finished(ids, archive) p
$$;

-- =====================================================================================================================
-- 6. Triggers
-- =====================================================================================================================

create trigger follow after delete or update on pgsched.calendars for each row
  execute function pgsched.follow_calendar();

create constraint trigger deliver after insert on pgsched.durable_events deferrable initially deferred for each row
  execute function pgsched.deliver_event();

create trigger note_version after insert or update of versions on pgsched.handlers
  for each row when (new.versions <> '[]'::jsonb) execute function pgsched.note_version();

create trigger check_limits before insert or update of limits on pgsched.queues for each row
  execute function pgsched.check_limits();

-- Notes when a queue is paused, and by whom.
create trigger note_paused before insert or update of paused on pgsched.queues for each row
  execute function pgsched.note_paused();

create trigger resumed before update of paused on pgsched.queues for each row when (old.paused and not new.paused)
  execute function pgsched.note_resumed();

create trigger announce after insert or delete or update of limits, ageing, ordering, events on pgsched.queues
  for each row execute function pgsched.announce_queue();

create trigger wake after update of paused on pgsched.queues for each row when (old.paused and not new.paused)
  execute function pgsched.unpause_queue();

create trigger block before update of depends_on on pgsched.tasks
  for each row when (old.depends_on::bigint[] is distinct from new.depends_on::bigint[])
  execute function pgsched.change_dependencies();

create trigger each before insert on pgsched.tasks for each row when (new.dependency_mode::text = 'each')
  execute function pgsched.guard_follower();

create trigger each_edit before update of dependency_mode on pgsched.tasks
  for each row when ((old.dependency_mode::text = 'each') <> (new.dependency_mode::text = 'each'))
  execute function pgsched.guard_follower();

create trigger expiry before insert on pgsched.tasks for each row when (new.expires_at is not null)
  execute function pgsched.check_expiry();

create trigger expiry_edit before update of expires_at on pgsched.tasks for each row when (new.expires_at is not null)
  execute function pgsched.check_expiry();

create trigger guard before insert on pgsched.tasks
  for each row
    when (new.status::text <> 'pending' or new.attempts::integer <> 0 or new.died_at is not null
      or new.last_run_at is not null or new.last_error is not null or new.completed_at is not null
      or new.started_at is not null or new.locked_by is not null or new.locked_until is not null
      or new.fencing_token <> 0 or new.execution_count::integer <> 0 or new.revision <> 0
      or new.unbegun_token is not null or new.waiting_for <> 0 or new.fired is not null or new.progress is not null
      or new.result is not null) execute function pgsched.guard_task();

create trigger guard_tick before update of scheduled_for on pgsched.tasks
  for each row
    when (new.scheduled_for::timestamptz <> old.scheduled_for::timestamptz and old.schedule_type::text <> 'one_time'
      and new.schedule_type::text <> 'one_time' and (old.status::text <> 'running' or new.status::text = 'running'))
  execute function pgsched.guard_tick();

create trigger keep_ids_ahead before insert on pgsched.tasks
  for each row when (new.id > coalesce(pg_sequence_last_value('pgsched.tasks_id_seq'::regclass), 0::bigint))
  execute function pgsched.keep_ids_ahead();

create trigger pass_early_ticks before update of scheduled_for on pgsched.tasks
  for each row when (new.early_ticks is not null and new.status::text = 'pending')
  execute function pgsched.pass_early_ticks();

create trigger prepare before insert on pgsched.tasks for each row execute function pgsched.prepare_task();

create trigger recheck_group before update of payload, task_type on pgsched.tasks
  for each row when (new.task_type::text = 'pgsched.group') execute function pgsched.recheck_group();

create trigger recheck_payload before update of payload, task_type on pgsched.tasks
  for each row
    when (new.payload::jsonb is distinct from old.payload::jsonb
      or new.task_type::text is distinct from old.task_type::text) execute function pgsched.recheck_payload();

create trigger refuse_moved before insert on pgsched.tasks
  for each row
    when (new.tenant_id is not null and new.parent_id is null
      and pg_sequence_last_value('pgsched.shard_changes'::regclass) is not null)
  execute function pgsched.guard_placement();

create trigger replan before update of schedule_type, cron_expression, timezone, start_date, end_date, repeat_interval,
  repeat_count, jitter, planned_from on pgsched.tasks
  for each row
    when (old.schedule_type::text is distinct from new.schedule_type::text
      or old.cron_expression is distinct from new.cron_expression or old.timezone is distinct from new.timezone
      or old.start_date::timestamptz is distinct from new.start_date::timestamptz
      or old.end_date::timestamptz is distinct from new.end_date::timestamptz
      or old.repeat_interval::interval is distinct from new.repeat_interval::interval
      or old.repeat_count::integer is distinct from new.repeat_count::integer
      or old.jitter::interval is distinct from new.jitter::interval
      or old.planned_from is distinct from new.planned_from) execute function pgsched.replan_task();

create trigger reschedule before update of scheduled_for on pgsched.tasks
  for each row
    when (new.schedule_type::text = 'one_time' and old.status::text = 'pending' and new.status::text = 'pending'
      and new.scheduled_for::timestamptz is distinct from old.scheduled_for::timestamptz
      and not new.next_run_at::timestamptz is distinct from old.next_run_at::timestamptz)
  execute function pgsched.move_due_clock();

create trigger silence before insert on pgsched.tasks
  for each row when (new.alert_if_no_success_for is not null or new.alert_if_running_for is not null)
  execute function pgsched.watch_task();

create trigger silence_edit before update of enabled, alert_if_no_success_for, alert_if_running_for on pgsched.tasks
  for each row when (new.alert_if_no_success_for is not null or new.alert_if_running_for is not null)
  execute function pgsched.watch_task();

create trigger touch before update of task_type, task_name, queue, priority, payload, metadata, tags, enabled,
  max_attempts, backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap,
  jitter on pgsched.tasks for each row execute function pgsched.touch_task();

create trigger touch_expiry before update of expires_at on pgsched.tasks for each row
  execute function pgsched.touch_task();

create trigger touch_silence before update of alert_if_no_success_for, alert_if_running_for on pgsched.tasks
  for each row execute function pgsched.touch_task();

create trigger unbooked before update of scheduled_for on pgsched.tasks
  for each row
    when (new.scheduled_for is null and new.schedule_type::text <> 'one_time' and new.status::text = 'pending')
  execute function pgsched.book_task();

create trigger wake before update of next_run_at, enabled, queue, priority on pgsched.tasks
  for each row
    when (new.status::text = 'pending' and new.enabled and (not old.enabled or old.next_run_at is null
      or new.next_run_at::timestamptz < old.next_run_at::timestamptz or new.queue::text <> old.queue::text))
  execute function pgsched.announce_task();

create trigger follow_tick after update of scheduled_for on pgsched.tasks
  for each row
    when (old.observed and old.status::text = 'running' and new.execution_count::integer > old.execution_count::integer
      and old.schedule_type::text <> 'one_time') execute function pgsched.follow_tick();

create trigger forget after delete on pgsched.tasks for each row when (old.observed or old.status::text = 'blocked')
  execute function pgsched.forget_dependencies();

create trigger settle_edited after update of end_date, repeat_count, cron_expression, timezone, start_date,
  repeat_interval, planned_from on pgsched.tasks
  for each row when (new.observed and new.status::text = 'completed' and old.status::text <> 'completed')
  execute function pgsched.settle_task();

create trigger wait_for after insert on pgsched.tasks
  for each row when (new.status::text = 'blocked' and cardinality(new.depends_on::bigint[]) > 0)
  execute function pgsched.add_dependencies();

create constraint trigger watch after insert on pgsched.tasks deferrable initially deferred
  for each row when (new.status::text = 'blocked' and cardinality(new.depends_on::bigint[]) > 0)
  execute function pgsched.watch_dependencies();

-- Keeps where a worker runs beyond its end.
create trigger note_worker after insert or delete on pgsched.workers for each row
  execute function pgsched.note_worker();

-- =====================================================================================================================
-- 7. Rights
-- =====================================================================================================================

-- Only roles that were granted the right may call functions.

revoke execute on all functions in schema pgsched from public;

grant execute on function
  pgsched.are_days, pgsched.bin_quantile, pgsched.bin_seconds, pgsched.block_task, pgsched.book_new, pgsched.booked,
  pgsched.calendar_days, pgsched.check_group, pgsched.check_payload, pgsched.check_schedule, pgsched.check_timezone,
  pgsched.check_type, pgsched.clock_change, pgsched.code_of, pgsched.cost_of, pgsched.count_tasks, pgsched.cron_number,
  pgsched.cron_problem, pgsched.cron_tick, pgsched.declaration, pgsched.due_at, pgsched.duration_bin,
  pgsched.early_reading, pgsched.elapsed_part, pgsched.first_tick, pgsched.grid_point, pgsched.grid_tick,
  pgsched.group_edges, pgsched.group_problem, pgsched.group_steps, pgsched.history, pgsched.instant_after,
  pgsched.interval_parts, pgsched.is_claimable, pgsched.is_excepted, pgsched.is_forward, pgsched.limits_problem,
  pgsched.lock_was_lost, pgsched.lowest_bit, pgsched.matching_days, pgsched.may_change, pgsched.merge_patch,
  pgsched.month_days, pgsched.month_length, pgsched.nearest_type, pgsched.next_interval_ticks, pgsched.next_ticks,
  pgsched.notify, pgsched.number_problem, pgsched.open_days, pgsched.protocol_version, pgsched.queues_in_use,
  pgsched.read_cron, pgsched.read_day, pgsched.refuse_tick, pgsched.remember, pgsched.resolved, pgsched.run_by,
  pgsched.shown_word, pgsched.status, pgsched.task_id, pgsched.tell_unknown, pgsched.upcoming, pgsched.version_of,
  pgsched.wait, pgsched.wake_sleepers, pgsched.wall_from, pgsched.with_version
to public;

grant select on pgsched.departed_keys to public;

grant select on pgsched.departed_tasks to public;

grant select on pgsched.known_tasks to public;

grant select on pgsched.running_attempts to public;

grant select on pgsched.shard_changes to public;

grant select on pgsched.tasks_id_seq to public;

grant select on pgsched.visible_durable_events to public;

grant select on pgsched.visible_durable_runs to public;

grant select on pgsched.visible_durable_steps to public;

grant select on pgsched.visible_executions to public;

grant select on pgsched.visible_missed_ticks to public;

grant select on pgsched.visible_tasks to public;

grant select on pgsched.visible_worker_hosts to public;

grant select on pgsched.watched_tasks to public;

-- =====================================================================================================================
-- 8. Comments
-- =====================================================================================================================

-- Comments on the objects above, which psql and docs/reference_sql.md show.

comment on schema pgsched is 'pgsched: a job queue and scheduler';
comment on function pgsched.is_forward is 'For the schema: whether no part of an interval is negative.';
comment on function pgsched.read_day is 'For the schema: a day of the calendar, or null.';
comment on function pgsched.are_days is 'For the schema: whether these are days, of every year or of one.';
comment on constraint task_type_must_have_1_to_200_characters on domain pgsched.task_type is '1 to 200 characters.';
comment on constraint task_type_must_not_contain_control_characters on domain pgsched.task_type is
  'No line ends, tabs or other control characters: names are shown in terminals and logs.';
comment on constraint queue_must_have_1_to_100_characters on domain pgsched.queue_name is '1 to 100 characters.';
comment on constraint queue_must_not_contain_control_characters on domain pgsched.queue_name is
  'No line ends, tabs or other control characters: names are shown in terminals and logs.';
comment on constraint priority_must_be_between_1_and_10 on domain pgsched.priority is '1 to 10; 10 runs first.';
comment on constraint payload_must_be_a_json_object on domain pgsched.payload is 'An object: no list, no single value.';
comment on constraint payload_must_not_be_nested_deeper_than_100_levels on domain pgsched.payload is
  'At most 100 lists and objects inside one another: readers need stack for each.';
comment on constraint payload_must_not_exceed_1_mib on domain pgsched.payload is
  'At most 1,048,576 bytes as JSON text.';
comment on constraint payload_must_not_hold_numbers_beyond_1e308 on domain pgsched.payload is
  'No number beyond 1e308 or -1e308: Python and others would read infinity.';
comment on constraint metadata_must_be_a_json_object on domain pgsched.metadata is
  'An object: no list, no single value.';
comment on constraint metadata_must_not_be_nested_deeper_than_100_levels on domain pgsched.metadata is
  'At most 100 lists and objects inside one another: readers need stack for each.';
comment on constraint metadata_must_not_exceed_1_mib on domain pgsched.metadata is
  'At most 1,048,576 bytes as JSON text.';
comment on constraint metadata_must_not_hold_numbers_beyond_1e308 on domain pgsched.metadata is
  'No number beyond 1e308 or -1e308: Python and others would read infinity.';
comment on constraint tags_must_be_at_most_100 on domain pgsched.tags is '100 tags at most.';
comment on constraint tags_must_not_contain_null on domain pgsched.tags is 'Every tag is text, none is null.';
comment on constraint schedule_type_must_be_one_time_recurring_or_repeating on domain pgsched.schedule_type is
  'One of the three kinds of schedule.';
comment on constraint scheduled_for_must_be_between_the_years_1_and_9999 on domain pgsched.scheduled_for is
  'A time that every language can hold; no infinity.';
comment on constraint start_date_must_be_between_the_years_1_and_9999 on domain pgsched.start_date is
  'A time that every language can hold; no infinity.';
comment on constraint end_date_must_be_between_the_years_1_and_9999 on domain pgsched.end_date is
  'A time that every language can hold; no infinity.';
comment on constraint repeat_interval_must_be_at_least_1_millisecond on domain pgsched.repeat_interval is
  'A millisecond or longer, and no part of it is negative.';
comment on constraint repeat_interval_must_be_at_most_1000_years on domain pgsched.repeat_interval is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint repeat_count_must_be_at_least_1 on domain pgsched.repeat_count is
  '1 or more; null means for ever.';
comment on constraint on_missed_must_be_once_skip_or_all on domain pgsched.on_missed is 'One of the three policies.';
comment on constraint catchup_window_must_be_at_most_1000_years on domain pgsched.catchup_window is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint catchup_window_must_not_be_negative on domain pgsched.catchup_window is
  'No part of it is negative.';
comment on constraint overlap_must_be_skip_or_allow on domain pgsched.overlap is 'One of the two policies.';
comment on constraint jitter_must_be_between_0_and_1_day on domain pgsched.jitter is 'From nothing to a day.';
comment on constraint max_attempts_must_be_between_1_and_1000 on domain pgsched.max_attempts is '1 to 1000.';
comment on constraint backoff_must_be_exponential_linear_or_fixed on domain pgsched.backoff is
  'One of the three policies.';
comment on constraint backoff_delay_must_be_at_most_1000_years on domain pgsched.backoff_delay is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint backoff_delay_must_not_be_negative on domain pgsched.backoff_delay is
  'No part of it is negative.';
comment on constraint backoff_max_must_be_at_most_1000_years on domain pgsched.backoff_max is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint backoff_max_must_not_be_negative on domain pgsched.backoff_max is 'No part of it is negative.';
comment on constraint timeout_must_be_at_least_1_millisecond on domain pgsched.timeout is
  'A millisecond or longer, and no part of it is negative.';
comment on constraint timeout_must_be_at_most_1000_years on domain pgsched.timeout is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint idempotency_key_must_have_1_to_500_characters on domain pgsched.idempotency_key is
  '1 to 500 characters.';
comment on constraint depends_on_must_be_at_most_100000 on domain pgsched.depends_on is '100,000 tasks at most.';
comment on constraint depends_on_must_not_contain_null on domain pgsched.depends_on is 'Ids of tasks, none is null.';
comment on constraint dependency_mode_must_be_all_any_or_each on domain pgsched.dependency_mode is
  'One of the three modes.';
comment on constraint execution_count_must_not_be_negative on domain pgsched.execution_count is 'A count.';
comment on constraint next_run_at_must_be_between_the_years_1_and_9999 on domain pgsched.next_run_at is
  'A time that every language can hold; no infinity.';
comment on constraint status_must_be_a_status_of_a_task on domain pgsched.task_status is
  'pending, running, blocked, completed, dead or cancelled.';
comment on constraint attempts_must_not_be_negative on domain pgsched.attempts is 'A count.';
comment on constraint on_dependency_dead_must_be_cancel_run_or_wait on domain pgsched.on_dependency_dead is
  'One of the three policies.';
comment on constraint concurrency_key_must_have_1_to_200_characters on domain pgsched.concurrency_key is
  '1 to 200 characters.';
comment on constraint backoff_factor_must_be_between_1_and_1000 on domain pgsched.backoff_factor is
  'Delays must not shrink from retry to retry.';
comment on constraint backoff_jitter_must_be_between_0_and_1 on domain pgsched.backoff_jitter is
  'A share of the delay.';
comment on type pgsched.cron_rule is 'A cron expression that was read, as sets of bits.';
comment on table pgsched.tasks is 'Every one-time, recurring and repeating task. Only task_type is required.';
comment on column pgsched.tasks.id is 'Given by the database.';
comment on column pgsched.tasks.task_type is 'The handler that runs it.';
comment on column pgsched.tasks.task_name is 'A label for people.';
comment on column pgsched.tasks.queue is 'Workers serve queues by name.';
comment on column pgsched.tasks.priority is '1 to 10; 10 runs first.';
comment on column pgsched.tasks.payload is 'A JSON object; its keys become the handler''s keyword arguments.';
comment on column pgsched.tasks.metadata is
  'A JSON object for people and programs; handlers do not get it as arguments.';
comment on column pgsched.tasks.tags is 'Labels to filter by.';
comment on column pgsched.tasks.tenant_id is 'Whose it is, as an organisation; for people and filters.';
comment on column pgsched.tasks.user_id is 'Whose it is, as a person; for people and filters.';
comment on column pgsched.tasks.created_by is 'Who or what made the row; for people and filters.';
comment on column pgsched.tasks.schedule_type is 'one_time, recurring or repeating; derived when left out.';
comment on column pgsched.tasks.scheduled_for is 'The nominal time of the current tick.';
comment on column pgsched.tasks.cron_expression is
  'Recurring: five fields, or six with seconds first, or @daily and the like; options as days=both may follow.';
comment on column pgsched.tasks.timezone is 'The IANA zone in which the schedule is read.';
comment on column pgsched.tasks.start_date is 'No tick before.';
comment on column pgsched.tasks.end_date is 'No tick after.';
comment on column pgsched.tasks.repeat_interval is 'Repeating: from tick to tick.';
comment on column pgsched.tasks.repeat_count is 'Repeating: so many ticks; null means for ever.';
comment on column pgsched.tasks.on_missed is 'Ticks that passed while nothing ran: once, skip or all.';
comment on column pgsched.tasks.catchup_window is 'Missed ticks older than this are not run.';
comment on column pgsched.tasks.overlap is 'A tick that comes while the last still runs: skip or allow.';
comment on column pgsched.tasks.jitter is 'Spreads starts: each tick is due up to this much later.';
comment on column pgsched.tasks.enabled is 'False: paused.';
comment on column pgsched.tasks.max_attempts is 'So many attempts of a tick before it is dead.';
comment on column pgsched.tasks.backoff is 'How the delay of retries grows: exponential, linear or fixed.';
comment on column pgsched.tasks.backoff_delay is 'The delay of the first retry.';
comment on column pgsched.tasks.backoff_max is 'No retry is delayed longer; backoff_delay counts where that is longer.';
comment on column pgsched.tasks.timeout is 'The longest that one attempt may take. Null: as long as it likes.';
comment on column pgsched.tasks.idempotency_key is
  'Unique: a second insert with the same key is refused, pgsched.schedule returns the first.';
comment on column pgsched.tasks.depends_on is 'The ids of the tasks it waits for.';
comment on column pgsched.tasks.dependency_mode is
  'Whether it waits for all of them or any, or (each) follows one schedule: it stays, and a child runs after each'
  ' tick.';
comment on column pgsched.tasks.parent_id is 'The task whose tick or copy this is.';
comment on column pgsched.tasks.declared is
  'Of a schedule declared in code: what the code said when it was last taken over.';
comment on column pgsched.tasks.planned_from is
  'When the schedule was made or last changed: its first tick is not before.';
comment on column pgsched.tasks.revision is
  'Grows when the schedule is edited, so that a finish in flight does not overwrite the edit.';
comment on column pgsched.tasks.created_at is 'When the row was inserted.';
comment on column pgsched.tasks.execution_count is 'Ticks finished.';
comment on column pgsched.tasks.completed_at is 'When the task was completed or cancelled.';
comment on column pgsched.tasks.died_at is 'When it failed for good.';
comment on column pgsched.tasks.last_run_at is 'When the last execution began.';
comment on column pgsched.tasks.updated_at is 'When it was last edited, finished or cancelled.';
comment on column pgsched.tasks.next_run_at is 'The due clock: when the row may be claimed. Null: never.';
comment on column pgsched.tasks.status is 'pending, running, blocked, completed, dead or cancelled.';
comment on column pgsched.tasks.started_at is 'When the current or last claim was made.';
comment on column pgsched.tasks.attempts is 'Attempts of this tick; counted at the claim.';
comment on column pgsched.tasks.locked_by is 'The worker that holds the lease.';
comment on column pgsched.tasks.locked_until is 'When the lease ends; past it any worker may claim the row again.';
comment on column pgsched.tasks.fencing_token is
  'Grows with every claim and never goes back: drawn from pgsched.fencing_tokens.';
comment on column pgsched.tasks.progress is 'What the handler last reported of itself.';
comment on column pgsched.tasks.result is 'What the handler last returned.';
comment on column pgsched.tasks.last_error is 'Why the last attempt failed. Null after one that went well.';
comment on column pgsched.tasks.on_dependency_dead is
  'What becomes of it when one of them is dead or cancelled: cancel, run (as if that one were completed) or wait '
  '(for its retry).';
comment on column pgsched.tasks.concurrency_key is 'Whose limits of the queue count for it: a tenant, an account.';
comment on column pgsched.tasks.waiting_for is 'How many tasks it still waits for.';
comment on column pgsched.tasks.observed is 'Others wait for it: its end is told them in the same transaction.';
comment on column pgsched.tasks.fired is 'Of a group: the ids of the children of the tick under way.';
comment on column pgsched.tasks.unbegun_token is
  'The fencing_token of a claim that holds the task in advance: as long as it is the task''s, this attempt has not'
  ' begun.';
comment on column pgsched.tasks.inserted_by is
  'The database role that was logged in when the row was inserted. Producers see their own rows in visible_tasks.';
comment on column pgsched.tasks.backoff_factor is 'By what an exponential delay grows from retry to retry. Null: 2.';
comment on column pgsched.tasks.backoff_jitter is
  'How far retries are spread around their delay, as a share of it; 0: not at all. Null: 0.2.';
comment on column pgsched.tasks.alert_if_no_success_for is
  'The task is silent when no attempt of it was completed for so long; counted from the first tick while there '
  'was none.';
comment on column pgsched.tasks.alert_if_running_for is 'An attempt that has run for so long is told of.';
comment on column pgsched.tasks.judged_from is
  'No success is asked for before: the last one that workers have noted, or when the task was enabled. Set by '
  'pgsched.';
comment on column pgsched.tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';
comment on column pgsched.tasks.early_ticks is
  'Ticks that ran while the database''s clock was ahead, and are not run again: of a schedule that was replanned '
  'since. Null: none.';
comment on constraint completed_at_if_and_only_if_completed_or_cancelled on pgsched.tasks is
  'Finished tasks are listed, counted and deleted by the time when they ended.';
comment on constraint cron_expression_if_and_only_if_recurring on pgsched.tasks is
  'A cron expression and the kind recurring come together.';
comment on constraint died_at_if_and_only_if_dead on pgsched.tasks is 'The dead letters are the rows with a died_at.';
comment on constraint due_if_and_only_if_pending_or_running on pgsched.tasks is
  'next_run_at is set while a row waits or runs, and null otherwise.';
comment on constraint end_date_must_not_be_before_start_date on pgsched.tasks is 'They may be equal.';
comment on constraint leased_if_and_only_if_running on pgsched.tasks is
  'locked_by and locked_until are set while a row runs, and not otherwise.';
comment on constraint repeat_count_needs_a_repeat_interval on pgsched.tasks is 'A count alone makes no schedule.';
comment on constraint repeat_interval_if_and_only_if_repeating on pgsched.tasks is
  'A repeat interval and the kind repeating come together; so no row has an interval and a cron expression.';
comment on index pgsched.idempotency_key_must_be_unique is
  'No two tasks have the same key; pgsched.schedule returns the first one instead.';
comment on index pgsched.tasks_by_tenant is 'The tasks of an organisation, in the order of their ids: for lists.';
comment on index pgsched.tasks_by_user is 'The tasks of a user, in the order of their ids: for lists.';
comment on index pgsched.tasks_children is 'The children of a task.';
comment on index pgsched.tasks_dead is 'The dead letters, by the time of their death.';
comment on index pgsched.tasks_dead_by_queue is
  'The dead tasks of a queue, in the order of their deaths: for retention.';
comment on index pgsched.tasks_dependents is
  'Tasks that depend on others and have not been completed or cancelled: retention keeps what they may still ask '
  'for.';
comment on index pgsched.tasks_due is
  'The due clock: everything that may ever be claimed, in the order of claims, and nothing else.';
comment on index pgsched.tasks_expiring is 'Tasks that may expire and are not over.';
comment on index pgsched.tasks_finished is
  'The tasks of a queue that were completed or cancelled, in the order of their ends: for retention.';
comment on index pgsched.tasks_keyed is 'The due clock of each concurrency_key, for queues with limits per key.';
comment on index pgsched.tasks_paused is 'The tasks that are paused: for lists and counts of them.';
comment on index pgsched.tasks_schedules is 'The schedules, for lists of them.';
comment on index pgsched.tasks_watched is 'Tasks that say when silence or a long run is to be told of.';
comment on index pgsched.tasks_workflows is 'Groups and tasks that wait for others, for lists of them.';
comment on table pgsched.dependencies is 'Who still waits for whom; a row goes when it is settled.';
comment on column pgsched.dependencies.upstream_id is 'The task that is waited for.';
comment on column pgsched.dependencies.task_id is 'The task that waits.';
comment on index pgsched.dependencies_task is 'What a task waits for.';
comment on table pgsched.archived_tasks is
  'Tasks that were deleted, if their queue asks for it: each as it was. Yours to empty.';
comment on column pgsched.archived_tasks.archived_at is 'When it was deleted.';
comment on column pgsched.archived_tasks.id is 'Given by the database.';
comment on column pgsched.archived_tasks.task_type is 'The handler that runs it.';
comment on column pgsched.archived_tasks.task_name is 'A label for people.';
comment on column pgsched.archived_tasks.queue is 'Workers serve queues by name.';
comment on column pgsched.archived_tasks.priority is '1 to 10; 10 runs first.';
comment on column pgsched.archived_tasks.payload is 'A JSON object; its keys become the handler''s keyword arguments.';
comment on column pgsched.archived_tasks.metadata is
  'A JSON object for people and programs; handlers do not get it as arguments.';
comment on column pgsched.archived_tasks.tags is 'Labels to filter by.';
comment on column pgsched.archived_tasks.tenant_id is 'Whose it is, as an organisation; for people and filters.';
comment on column pgsched.archived_tasks.user_id is 'Whose it is, as a person; for people and filters.';
comment on column pgsched.archived_tasks.created_by is 'Who or what made the row; for people and filters.';
comment on column pgsched.archived_tasks.schedule_type is 'one_time, recurring or repeating; derived when left out.';
comment on column pgsched.archived_tasks.scheduled_for is 'The nominal time of the current tick.';
comment on column pgsched.archived_tasks.cron_expression is
  'Recurring: five fields, or six with seconds first, or @daily and the like; options as days=both may follow.';
comment on column pgsched.archived_tasks.timezone is 'The IANA zone in which the schedule is read.';
comment on column pgsched.archived_tasks.start_date is 'No tick before.';
comment on column pgsched.archived_tasks.end_date is 'No tick after.';
comment on column pgsched.archived_tasks.repeat_interval is 'Repeating: from tick to tick.';
comment on column pgsched.archived_tasks.repeat_count is 'Repeating: so many ticks; null means for ever.';
comment on column pgsched.archived_tasks.on_missed is 'Ticks that passed while nothing ran: once, skip or all.';
comment on column pgsched.archived_tasks.catchup_window is 'Missed ticks older than this are not run.';
comment on column pgsched.archived_tasks.overlap is 'A tick that comes while the last still runs: skip or allow.';
comment on column pgsched.archived_tasks.jitter is 'Spreads starts: each tick is due up to this much later.';
comment on column pgsched.archived_tasks.enabled is 'False: paused.';
comment on column pgsched.archived_tasks.max_attempts is 'So many attempts of a tick before it is dead.';
comment on column pgsched.archived_tasks.backoff is 'How the delay of retries grows: exponential, linear or fixed.';
comment on column pgsched.archived_tasks.backoff_delay is 'The delay of the first retry.';
comment on column pgsched.archived_tasks.backoff_max is 'No retry is delayed longer.';
comment on column pgsched.archived_tasks.timeout is 'The longest that one attempt may take. Null: as long as it likes.';
comment on column pgsched.archived_tasks.idempotency_key is
  'Unique: a second insert with the same key is refused, pgsched.schedule returns the first.';
comment on column pgsched.archived_tasks.depends_on is 'The ids of the tasks it waits for.';
comment on column pgsched.archived_tasks.dependency_mode is 'Whether it waits for all of them or any.';
comment on column pgsched.archived_tasks.parent_id is 'The task whose tick or copy this is.';
comment on column pgsched.archived_tasks.declared is
  'Of a schedule declared in code: what the code said when it was last taken over.';
comment on column pgsched.archived_tasks.planned_from is
  'When the schedule was made or last changed: its first tick is not before.';
comment on column pgsched.archived_tasks.revision is
  'Grows when the schedule is edited, so that a finish in flight does not overwrite the edit.';
comment on column pgsched.archived_tasks.created_at is 'When the row was inserted.';
comment on column pgsched.archived_tasks.execution_count is 'Ticks finished.';
comment on column pgsched.archived_tasks.completed_at is 'When the task was completed or cancelled.';
comment on column pgsched.archived_tasks.died_at is 'When it failed for good.';
comment on column pgsched.archived_tasks.last_run_at is 'When the last execution began.';
comment on column pgsched.archived_tasks.updated_at is 'When it was last edited, finished or cancelled.';
comment on column pgsched.archived_tasks.next_run_at is 'The due clock: when the row may be claimed. Null: never.';
comment on column pgsched.archived_tasks.status is 'pending, running, blocked, completed, dead or cancelled.';
comment on column pgsched.archived_tasks.started_at is 'When the current or last claim was made.';
comment on column pgsched.archived_tasks.attempts is 'Attempts of this tick; counted at the claim.';
comment on column pgsched.archived_tasks.locked_by is 'The worker that holds the lease.';
comment on column pgsched.archived_tasks.locked_until is
  'When the lease ends; past it any worker may claim the row again.';
comment on column pgsched.archived_tasks.fencing_token is 'Grows by one at every claim and never goes back.';
comment on column pgsched.archived_tasks.progress is 'What the handler last reported of itself.';
comment on column pgsched.archived_tasks.result is 'What the handler last returned.';
comment on column pgsched.archived_tasks.last_error is 'Why the last attempt failed. Null after one that went well.';
comment on column pgsched.archived_tasks.on_dependency_dead is
  'What becomes of it when one of them is dead or cancelled: cancel, run (as if that one were completed) or wait '
  '(for its retry).';
comment on column pgsched.archived_tasks.concurrency_key is
  'Whose limits of the queue count for it: a tenant, an account.';
comment on column pgsched.archived_tasks.waiting_for is 'How many tasks it still waits for.';
comment on column pgsched.archived_tasks.observed is
  'Others wait for it: its end is told them in the same transaction.';
comment on column pgsched.archived_tasks.fired is 'Of a group: the ids of the children of the tick under way.';
comment on column pgsched.archived_tasks.unbegun_token is
  'The fencing_token of a claim that holds the task in advance: as long as it is the task''s, this attempt has not'
  ' begun.';
comment on column pgsched.archived_tasks.inserted_by is
  'The database role that was logged in when the row was inserted.';
comment on column pgsched.archived_tasks.backoff_factor is
  'By what an exponential delay grows from retry to retry. Null: 2.';
comment on column pgsched.archived_tasks.backoff_jitter is
  'How far retries are spread around their delay, as a share of it; 0: not at all. Null: 0.2.';
comment on column pgsched.archived_tasks.alert_if_no_success_for is
  'The task is silent when no attempt of it was completed for so long; counted from the first tick while there '
  'was none.';
comment on column pgsched.archived_tasks.alert_if_running_for is 'An attempt that has run for so long is told of.';
comment on column pgsched.archived_tasks.judged_from is
  'No success is asked for before: the last one that workers have noted, or when the task was enabled. Set by '
  'pgsched.';
comment on column pgsched.archived_tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';
comment on column pgsched.archived_tasks.early_ticks is
  'Ticks that ran while the database''s clock was ahead, and are not run again: of a schedule that was replanned '
  'since. Null: none.';
comment on index pgsched.archived_tasks_id is 'Finds an archived task by its id.';
comment on index pgsched.archived_tasks_time is
  'Archived tasks by the time of their deletion: a summary of block ranges.';
comment on table pgsched.executions is 'One row per attempt; partitioned by day of started_at, in UTC.';
comment on column pgsched.executions.task_id is 'The task; it may be deleted by now.';
comment on column pgsched.executions.task_type is 'Its handler.';
comment on column pgsched.executions.queue is 'Its queue.';
comment on column pgsched.executions.attempt is
  'Which attempt at the tick it was, from 1. 0: one that is not counted, lost with the transaction that had '
  'locked the task.';
comment on column pgsched.executions.fencing_token is 'The token of the claim: with task_id it names the attempt.';
comment on column pgsched.executions.scheduled_for is 'The tick that it was for.';
comment on column pgsched.executions.worker_id is 'The worker that made it; null when there was none.';
comment on column pgsched.executions.status is
  'completed, failed, timed_out, cancelled or lost (its worker died or was cut off).';
comment on column pgsched.executions.started_at is
  'When the handler began; of a lost or cancelled attempt, when it was claimed.';
comment on column pgsched.executions.finished_at is 'When it ended, or was found to be lost.';
comment on column pgsched.executions.duration_ms is 'How long it took, in milliseconds.';
comment on column pgsched.executions.result is 'What the handler returned.';
comment on column pgsched.executions.error is
  'Why it failed, with the traceback; cut in the middle at 16,384 characters.';
comment on column pgsched.executions.task is
  'Of the attempt with which a task has left pgsched.tasks: what the task had beside defaults and this row; see '
  'departed_tasks. Null for all others.';
comment on constraint status_must_be_a_status_of_an_execution on pgsched.executions is
  'completed, failed, timed_out, cancelled or lost.';
comment on index pgsched.executions_departed_key is 'The keys of tasks that have left pgsched.tasks.';
comment on index pgsched.executions_not_completed is 'The attempts that did not go well, by time.';
comment on index pgsched.executions_task is 'The attempts at one task.';
comment on index pgsched.executions_time is 'The attempts by time: a summary of block ranges, not an entry for each.';
comment on table pgsched.execution_logs is 'Lines that handlers logged; partitioned by day of logged_at, in UTC.';
comment on column pgsched.execution_logs.task_id is 'The task.';
comment on column pgsched.execution_logs.fencing_token is 'The token of the claim: with task_id it names the attempt.';
comment on column pgsched.execution_logs.attempt is 'Which attempt at the tick it was, from 1.';
comment on column pgsched.execution_logs.logged_at is 'When.';
comment on column pgsched.execution_logs.level is
  'debug, info, warning, error, critical, or any word that the handler gave.';
comment on column pgsched.execution_logs.message is 'The line, cut at 8,192 characters.';
comment on column pgsched.execution_logs.fields is 'What was given with it, as a JSON object.';
comment on index pgsched.execution_logs_task is 'The lines of one task.';
comment on table pgsched.missed_ticks is
  'Ticks that were not run, and why: one row for ticks in a row; partitioned by day of noted_at, in UTC.';
comment on column pgsched.missed_ticks.task_id is 'The schedule.';
comment on column pgsched.missed_ticks.task_type is 'Its handler.';
comment on column pgsched.missed_ticks.queue is 'Its queue.';
comment on column pgsched.missed_ticks.reason is
  'The on_missed policy that decided it; overlap: the last run was still running; edit: the schedule was edited; '
  'paused: it was enabled without catching up; skipped: by skip_next.';
comment on column pgsched.missed_ticks.ticks is 'How many; for cron 999 or 1000 means at least so many.';
comment on column pgsched.missed_ticks.first_tick is 'The first of them.';
comment on column pgsched.missed_ticks.next_tick is
  'The tick that was run or booked instead. Null: the schedule is over, or was edited.';
comment on column pgsched.missed_ticks.noted_at is 'When it was decided.';
comment on constraint reason_must_be_once_skip_all_overlap_edit_paused_or_skipped on pgsched.missed_ticks is
  'Why the ticks were not run: a policy of on_missed, or what somebody did.';
comment on index pgsched.missed_ticks_task is 'The missed ticks of one schedule.';
comment on table pgsched.durable_runs is
  'The runs of durable handlers that have recorded something and are not over: one row per task, named by '
  'began_at.';
comment on column pgsched.durable_runs.task_id is 'The task.';
comment on column pgsched.durable_runs.tick_number is
  'Which tick of the task it is, from 1; always 1 for a one-time task.';
comment on column pgsched.durable_runs.began_at is
  'When the run began: its steps are filed under this time. A new tick and ctx.restart_with() begin another run.';
comment on column pgsched.durable_runs.code_version is 'The version of the code that began it.';
comment on column pgsched.durable_runs.awaits is
  'While the task is blocked in a wait: what ends the wait, as event:NAME, child:ID and time.';
comment on column pgsched.durable_runs.wakes_at is
  'While the task is blocked in a wait: when the first timeout or sleep among its waits is over.';
comment on column pgsched.durable_runs.unasked is
  'Recorded steps that the code no longer asked for when it went on behind them; the doctor reports them.';
comment on index pgsched.durable_runs_waking is 'The waits that end at a time, in that order.';
comment on table pgsched.durable_steps is
  'What the runs of durable handlers have recorded: one row per step, sleep, wait and child. Partitioned by day '
  'of began_at, in UTC.';
comment on column pgsched.durable_steps.task_id is 'The task; it may be deleted by now.';
comment on column pgsched.durable_steps.began_at is 'The run.';
comment on column pgsched.durable_steps.tick_number is 'Which tick of the task the run is, from 1.';
comment on column pgsched.durable_steps.name is 'The name that the handler gives it; with key it is unique in a run.';
comment on column pgsched.durable_steps.key is
  'What tells steps of one name apart, as those of a loop; empty: nothing.';
comment on column pgsched.durable_steps.kind is
  'step (a function that was called), sleep, event (a wait for one), child (another task), value (a time, a '
  'random number) or patch.';
comment on column pgsched.durable_steps.status is
  'waiting, failing (it is tried again), completed, or failed for good: all its attempts failed, or the wait '
  'timed out.';
comment on column pgsched.durable_steps.attempts is 'Attempts of the step that have ended.';
comment on column pgsched.durable_steps.result is
  'What the step returned, the payload of the event, the result of the child.';
comment on column pgsched.durable_steps.error is 'Why its last attempt failed.';
comment on column pgsched.durable_steps.child_id is 'The child task.';
comment on column pgsched.durable_steps.cancels_child is 'Whether the child is cancelled with this task.';
comment on column pgsched.durable_steps.event_id is 'The event that ended the wait.';
comment on column pgsched.durable_steps.wakes_at is
  'When the sleep ends, the wait times out, or the step is tried again.';
comment on column pgsched.durable_steps.started_at is 'When it was begun first.';
comment on column pgsched.durable_steps.finished_at is 'When it was completed, or failed for good.';
comment on column pgsched.durable_steps.fencing_token is 'The claim that recorded it last.';
comment on constraint kind_must_be_step_sleep_event_child_value_or_patch on pgsched.durable_steps is
  'What a step can be.';
comment on constraint status_must_be_waiting_failing_completed_or_failed on pgsched.durable_steps is
  'How a step can stand.';
comment on index pgsched.durable_steps_name is 'A step is recorded once in a run.';
comment on table pgsched.durable_events is 'The mailboxes of durable tasks: events that were sent to them, see emit.';
comment on column pgsched.durable_events.id is
  'Given by the database; of events of one name the lowest is consumed first.';
comment on column pgsched.durable_events.task_id is 'The task that it was sent to.';
comment on column pgsched.durable_events.tick_number is
  'The tick that was under way, or was the next one: an event that no wait has consumed is not left to another '
  'tick.';
comment on column pgsched.durable_events.name is 'What the task waits for.';
comment on column pgsched.durable_events.payload is 'What the wait returns: any JSON value.';
comment on column pgsched.durable_events.key is
  'A second event of the same task, tick, name and key is not stored. Null: every one is.';
comment on column pgsched.durable_events.sent_by is 'The database role that sent it.';
comment on column pgsched.durable_events.sent_at is 'When it was sent.';
comment on column pgsched.durable_events.consumed_at is 'When a wait took it. Null: none has.';
comment on column pgsched.durable_events.sent_in is
  'The transaction that sent it. Those that send several events lock their tasks in the order of the ids.';
comment on index pgsched.durable_events_mailbox is 'What waits in the mailbox of a task.';
comment on index pgsched.durable_events_task is 'All events of a task.';
comment on index pgsched.durable_events_time is 'Events by time: a summary of block ranges.';
comment on index pgsched.event_key_must_be_unique is 'Of events with one key the first is kept.';
comment on table pgsched.queues is 'Settings of queues; a queue without a row has the defaults.';
comment on column pgsched.queues.name is 'The queue.';
comment on column pgsched.queues.paused is 'True: nothing is claimed from it; what runs goes on.';
comment on column pgsched.queues.ordering is
  'Within a priority the row that is due longest comes first (fifo) or last (lifo).';
comment on column pgsched.queues.limits is 'What may run at once and how much may start in a time, over all workers.';
comment on column pgsched.queues.retention is
  'Completed and cancelled tasks older than this are deleted; 0: a task leaves in the transaction that completes '
  'it. Null: as the settings say; 1000 years: for ever.';
comment on column pgsched.queues.updated_at is 'When a setting last changed.';
comment on column pgsched.queues.ageing is
  'A row that has waited so long counts as one priority higher, for each such span.';
comment on column pgsched.queues.limits_changed_at is 'When limits last changed.';
comment on column pgsched.queues.apart is 'It has limits or ageing, and a claim of its own.';
comment on column pgsched.queues.events is
  'Other programs are told what happens to its tasks, on the channel pgsched_events.';
comment on column pgsched.queues.retention_count is
  'Of completed and cancelled tasks so many are kept, the latest. Null: as the settings say; 2147483647: all.';
comment on column pgsched.queues.dead_retention is
  'Dead tasks older than this are deleted. Null: as the settings say; 1000 years: for ever.';
comment on column pgsched.queues.dead_retention_count is
  'Of dead tasks so many are kept, the latest. Null: as the settings say; 2147483647: all.';
comment on column pgsched.queues.archive is
  'Tasks are copied to archived_tasks before they are deleted. Null: as the settings say.';
comment on column pgsched.queues.allow_short is
  'retention and dead_retention may be shorter than an hour. False: such a value is refused, as a unit was '
  'probably forgotten.';
comment on column pgsched.queues.resumed_at is
  'When the queue was last no longer paused: silence of its tasks is counted from then.';
comment on column pgsched.queues.paused_at is
  'When the queue was paused. Null: it is not, or it was before this column came.';
comment on column pgsched.queues.paused_by is 'Who paused it: the name given with the request, else the database role.';
comment on constraint ageing_must_be_between_1_second_and_1000_years on pgsched.queues is
  'A second or longer, at most 1000 years, and no part of it is negative.';
comment on constraint ageing_needs_the_ordering_fifo on pgsched.queues is
  'In a lifo queue the rows that wait longest are not looked at.';
comment on constraint dead_retention_count_must_not_be_negative on pgsched.queues is
  'A count; 2147483647 stands for all.';
comment on constraint dead_retention_must_be_at_least_1_hour_unless_allow_short on pgsched.queues is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days.';
comment on constraint dead_retention_must_be_at_most_1000_years on pgsched.queues is '1000 years stand for ever.';
comment on constraint dead_retention_must_not_be_negative on pgsched.queues is 'No part of it is negative.';
comment on constraint ordering_must_be_fifo_or_lifo on pgsched.queues is 'One of the two orders.';
comment on constraint retention_count_must_not_be_negative on pgsched.queues is 'A count; 2147483647 stands for all.';
comment on constraint retention_must_be_at_least_1_hour_unless_allow_short on pgsched.queues is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days. 0 '
  'has no unit, and says that tasks leave when they are completed.';
comment on constraint retention_must_be_at_most_1000_years on pgsched.queues is '1000 years stand for ever.';
comment on constraint retention_must_not_be_negative on pgsched.queues is 'No part of it is negative.';
comment on index pgsched.queues_leaving is 'The queues whose tasks leave when they are completed.';
comment on table pgsched.slots is 'What runs of queues with a limit of concurrency, each claim with its fencing token.';
comment on column pgsched.slots.queue is 'The queue.';
comment on column pgsched.slots.key is 'The concurrency_key of the task; empty: it has none.';
comment on column pgsched.slots.task_id is 'The task.';
comment on column pgsched.slots.fencing_token is
  'The token of the claim: the slot is good while the task runs under it.';
comment on table pgsched.starts is 'How much was started of queues with a limit of rate, and when.';
comment on column pgsched.starts.queue is 'The queue.';
comment on column pgsched.starts.key is 'The concurrency_key; empty: the queue as a whole.';
comment on column pgsched.starts.since is 'The step of time that is counted in one row.';
comment on column pgsched.starts.at is 'When the last of them started.';
comment on column pgsched.starts.number is 'How many started in this step.';
comment on table pgsched.turns is
  'Which key of a queue with limits per key was served last; unlogged: after a crash the first key comes first '
  'again.';
comment on column pgsched.turns.queue is 'The queue.';
comment on column pgsched.turns.key is 'The key that was served last.';
comment on column pgsched.turns.roamed_priority is
  'Behind many rows with keys: at which priority the search for rows without one goes on.';
comment on column pgsched.turns.roamed_at is 'At which next_run_at it goes on.';
comment on column pgsched.turns.roamed_id is 'At which id it goes on.';
comment on table pgsched.backlogs is
  'How many tasks of each queue were due, minute by minute, for the last two hours. Written by workers; the '
  'forecast of when a backlog is drained is made from it.';
comment on column pgsched.backlogs.queue is 'The queue.';
comment on column pgsched.backlogs.at is 'When it was counted.';
comment on column pgsched.backlogs.due is 'How many tasks were due, those that ran included.';
comment on column pgsched.backlogs.exact is 'False: they are many, and were estimated.';
comment on column pgsched.backlogs.oldest_due_at is 'Since when the first of them that did not run was due.';
comment on table pgsched.workers is
  'One row per worker process that is alive, or was a moment ago; unlogged: what a crash empties, the next '
  'heartbeat writes again.';
comment on column pgsched.workers.id is 'Of this start of the process: made up anew by each.';
comment on column pgsched.workers.hostname is 'The machine.';
comment on column pgsched.workers.pid is 'The process on it.';
comment on column pgsched.workers.queues is 'The queues that it serves by name.';
comment on column pgsched.workers.task_types is 'The types that it has handlers for.';
comment on column pgsched.workers.declared_keys is 'The idempotency keys of the schedules that its code declares.';
comment on column pgsched.workers.concurrency is 'So many tasks run in it at once.';
comment on column pgsched.workers.running is
  'How many of its slots are occupied, as of the last heartbeat; also by what has overstayed its timeout and '
  'cannot be stopped.';
comment on column pgsched.workers.started_at is 'When it started.';
comment on column pgsched.workers.heartbeat_at is 'When it was last heard of.';
comment on column pgsched.workers.lease is 'How long its claims are good for without a heartbeat.';
comment on column pgsched.workers.sleeping_until is
  'Until when it sleeps: an insert that is due before notifies it. Null: it is awake.';
comment on column pgsched.workers.patterns is 'Patterns of LIKE: the worker serves the queues that match one, too.';
comment on column pgsched.workers.troubles is
  'What is wrong in it, as of the last heartbeat: objects of kind, object, since, stops and detail. Empty: '
  'nothing, or a program that does not tell.';
comment on column pgsched.workers.pgsched_version is
  'The version of pgsched that it runs; of a worker in another language, the language and version of its client. '
  'Null: one that does not tell.';
comment on column pgsched.workers.code_version is 'The version of the application, as App(version=…) names it.';
comment on column pgsched.workers.state is
  'active, paused (it claims nothing) or draining (it ends when its tasks have), as of the last heartbeat. Null: '
  'a program that takes no requests.';
comment on column pgsched.workers.request is 'What it was asked to do: pause or drain. Null: to work.';
comment on column pgsched.workers.requested_by is 'Who asked: the name given with the request, else the database role.';
comment on column pgsched.workers.requested_at is 'When.';
comment on constraint request_must_be_pause_or_drain on pgsched.workers is 'One of the two requests.';
comment on constraint state_must_be_active_paused_or_draining on pgsched.workers is 'One of the three states.';
comment on constraint troubles_must_be_an_array on pgsched.workers is 'Each element is one trouble.';
comment on table pgsched.worker_hosts is
  'Where each worker ran, kept as long as the history: pgsched.workers has those that are there alone. Written '
  'when a worker starts and when it is gone.';
comment on column pgsched.worker_hosts.id is 'The worker: worker_id of the history, locked_by of tasks.';
comment on column pgsched.worker_hosts.hostname is 'The machine.';
comment on column pgsched.worker_hosts.pid is 'The process on it.';
comment on column pgsched.worker_hosts.started_at is 'When it started.';
comment on column pgsched.worker_hosts.last_seen is
  'When it was last known to be there: at its end, else when the history was last pruned.';
comment on constraint worker_hosts_pkey on pgsched.worker_hosts is 'One row a worker.';
comment on table pgsched.set_aside is
  'Tasks that a worker could not claim, or whose outcome it could not write: it goes on without them and tries '
  'again.';
comment on column pgsched.set_aside.worker_id is 'The worker that set the task aside.';
comment on column pgsched.set_aside.task_id is 'The task; deleted tasks may still be listed for a while.';
comment on column pgsched.set_aside.task_type is 'The handler of the task.';
comment on column pgsched.set_aside.queue is 'The queue of the task.';
comment on column pgsched.set_aside.operation is 'What failed: claim or finish.';
comment on column pgsched.set_aside.reason is 'The message of the database.';
comment on column pgsched.set_aside.tries is 'How often the operation was tried.';
comment on column pgsched.set_aside.since is 'When the operation failed for the first time.';
comment on constraint operation_must_be_claim_or_finish on pgsched.set_aside is
  'These two are done for many rows at once, so that one row could fail the others.';
comment on index pgsched.set_aside_task is 'Whether a task is set aside.';
comment on table pgsched.watchdog is 'What the workers last found to be wrong: one row.';
comment on column pgsched.watchdog.only_row is 'There is no other row.';
comment on column pgsched.watchdog.looked_at is 'When a worker last began to look.';
comment on column pgsched.watchdog.worker_id is 'Which worker that was.';
comment on column pgsched.watchdog.findings is 'What it found, as pgsched doctor --json has it.';
comment on column pgsched.watchdog.complete_at is
  'When a worker last looked at everything; in between they look at what presses.';
comment on constraint watchdog_must_have_one_row on pgsched.watchdog is
  'The last look takes the place of the one before.';
comment on table pgsched.handlers is
  'The register: each type that an application has a handler for, written by its workers when they start and by '
  'pgsched sync.';
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
  'When pgsched sync found it no longer in the code. An INSERT of the type is told of as one that nobody has a '
  'handler for.';
comment on column pgsched.handlers.versions is
  'The last 20 versions of the code that registered it, the newest last, in the order in which they came first: '
  'objects with version, code (what tells it from others) and since.';
comment on column pgsched.handlers.misfit_at is
  'When a payload last did not fit an older version of the code, and its task was left to a newer one.';
comment on column pgsched.handlers.misfit_task_id is 'The task of that payload.';
comment on column pgsched.handlers.durable is 'True: its runs record their steps, and tasks of the type take events.';
comment on constraint handlers_pkey on pgsched.handlers is 'One row a type.';
comment on constraint versions_must_be_a_list on pgsched.handlers is 'What appends to it needs one.';
comment on table pgsched.task_defaults is
  'What a handler or a queue says of all of its tasks; the row of a task says more, and the handler more than the'
  ' queue. Null: nothing.';
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
comment on column pgsched.task_defaults.on_dependency_dead is
  'What a task has that says nothing of on_dependency_dead.';
comment on column pgsched.task_defaults.concurrency_key is 'What a task has that says nothing of concurrency_key.';
comment on column pgsched.task_defaults.alert_if_no_success_for is
  'What a task has that says nothing of alert_if_no_success_for.';
comment on column pgsched.task_defaults.alert_if_running_for is
  'What a task has that says nothing of alert_if_running_for.';
comment on column pgsched.task_defaults.cost is
  'For how many starts a task counts by the rate of its queue; null: for one.';
comment on constraint task_defaults_pkey on pgsched.task_defaults is 'One row for each handler and queue.';
comment on constraint cost_must_be_between_1_and_1000000 on pgsched.task_defaults is 'A start counts for one at least.';
comment on constraint dependency_mode_each_is_for_single_tasks on pgsched.task_defaults is
  'It says of one task which schedule it follows.';
comment on constraint kind_must_be_handler_or_queue on pgsched.task_defaults is 'Nobody else says anything.';
comment on constraint name_must_have_1_to_200_characters on pgsched.task_defaults is 'As types have.';
comment on constraint queue_is_said_by_handlers_alone on pgsched.task_defaults is 'A queue knows which one it is.';
comment on table pgsched.type_counts is
  'Attempts that ended, by type, queue and time: counted from the history by upkeep, kept longer than it.';
comment on column pgsched.type_counts.seconds is
  'How long the bucket is: 300 (kept 8 days), 3600 (15 days), 21600 (31 days) or 86400 (400 days).';
comment on column pgsched.type_counts.bucket is
  'When it begins; attempts are counted by finished_at. Days are days of UTC.';
comment on column pgsched.type_counts.task_type is
  'The type; empty: what was beyond 1,000 types and queues of a bucket.';
comment on column pgsched.type_counts.queue is 'The queue.';
comment on column pgsched.type_counts.completed is 'Attempts that completed.';
comment on column pgsched.type_counts.failed is 'Attempts that failed.';
comment on column pgsched.type_counts.timed_out is 'Attempts that timed out.';
comment on column pgsched.type_counts.cancelled is 'Attempts that were cancelled, or expired.';
comment on column pgsched.type_counts.lost is 'Attempts whose worker died or was cut off.';
comment on column pgsched.type_counts.snoozed is 'Attempts that put their task off without being counted.';
comment on column pgsched.type_counts.run_seconds is
  'How long those that completed, failed or timed out took together.';
comment on column pgsched.type_counts.run_max is 'The longest of them, in seconds.';
comment on column pgsched.type_counts.run_bins is
  'Which bins of pgsched.duration_bin their durations are in, in order.';
comment on column pgsched.type_counts.run_counts is 'How many are in each of these bins.';
comment on column pgsched.type_counts.wait_seconds is
  'How long first attempts started after their scheduled_for, together.';
comment on column pgsched.type_counts.wait_max is 'The longest of these waits, in seconds.';
comment on column pgsched.type_counts.wait_bins is 'Which bins the waits are in, in order.';
comment on column pgsched.type_counts.wait_counts is 'How many are in each of these bins.';
comment on constraint type_counts_pkey on pgsched.type_counts is 'One row for each type and queue of a bucket.';
comment on table pgsched.error_groups is
  'Errors that are the same but for what differs from task to task: numbers, ids, quoted texts, times.';
comment on column pgsched.error_groups.fingerprint is 'What names the group: a hash of exception and message.';
comment on column pgsched.error_groups.exception is 'The class of the exception; empty: it was none of a handler.';
comment on column pgsched.error_groups.message is 'The message with placeholders, cut at 300 characters.';
comment on column pgsched.error_groups.first_seen is
  'When an attempt first failed with it, as far as it is kept: 90 days after the last time.';
comment on column pgsched.error_groups.last_seen is 'When one last did.';
comment on column pgsched.error_groups.noted_at is
  'When the group was written: at most 500 new ones a day are, the rest is counted as other.';
comment on constraint error_groups_pkey on pgsched.error_groups is 'One row a group.';
comment on table pgsched.error_counts is
  'Failed, timed out and lost attempts by error, type, queue and time: counted from the history by upkeep.';
comment on column pgsched.error_counts.seconds is 'How long the bucket is, as in pgsched.type_counts.';
comment on column pgsched.error_counts.bucket is 'When it begins.';
comment on column pgsched.error_counts.fingerprint is 'The group; other: what was beyond the most frequent ones.';
comment on column pgsched.error_counts.task_type is 'The type; empty for other.';
comment on column pgsched.error_counts.queue is 'The queue; empty for other.';
comment on column pgsched.error_counts.number is 'How many attempts.';
comment on column pgsched.error_counts.first_seen is 'When the first of them ended.';
comment on column pgsched.error_counts.last_seen is 'When the last of them ended.';
comment on column pgsched.error_counts.task_id is 'The task of one of them.';
comment on constraint error_counts_pkey on pgsched.error_counts is
  'One row for each group, type and queue of a bucket.';
comment on table pgsched.roll_up_state is 'How far the history is counted. One row.';
comment on column pgsched.roll_up_state.only_row is 'True.';
comment on column pgsched.roll_up_state.next_at is 'When the next worker takes the turn.';
comment on column pgsched.roll_up_state.worker_id is 'The worker that took the last one.';
comment on column pgsched.roll_up_state.counted_until is
  'What ended by then is counted, but for what was committed later. Null: nothing is.';
comment on column pgsched.roll_up_state.fresh_from is 'The bucket that the next turn counts first.';
comment on column pgsched.roll_up_state.settled_until is
  'Up to when it was counted again for what was committed late: 10 minutes, 2 hours and 2 days after.';
comment on constraint roll_up_state_pkey on pgsched.roll_up_state is 'One row.';
comment on constraint there_is_one_row on pgsched.roll_up_state is 'One row.';
comment on table pgsched.handler_versions is
  'When each version of a handler''s code became the newest one of the register; kept 400 days, the newest for '
  'ever.';
comment on column pgsched.handler_versions.task_type is 'The type.';
comment on column pgsched.handler_versions.since is 'When it did.';
comment on column pgsched.handler_versions.version is 'The version; null: the application names none.';
comment on column pgsched.handler_versions.code is 'What tells it from others.';
comment on constraint handler_versions_pkey on pgsched.handler_versions is 'One row a version.';
comment on table pgsched.calendars is 'Days that cron expressions leave out by name, as except=@holidays.';
comment on column pgsched.calendars.name is 'What expressions call it, after an @.';
comment on column pgsched.calendars.days is 'As 12-25, of every year, and 2030-04-19.';
comment on constraint days_must_be_up_to_1000_as_12_25_and_2030_04_19 on pgsched.calendars is
  'A day that cannot be read would be left out of nothing.';
comment on constraint name_must_be_a_word_of_lower_case on pgsched.calendars is 'Cron expressions name it.';
comment on table pgsched.timezones is 'The IANA time zones that the server knew when the schema was made.';
comment on column pgsched.timezones.name is 'As Europe/Berlin.';
comment on table pgsched.zone_rules is 'The rules of the zones of schedules by which their ticks are booked.';
comment on column pgsched.zone_rules.zone is 'The IANA zone.';
comment on column pgsched.zone_rules.since is 'The years that are known, from here on.';
comment on column pgsched.zone_rules.until is 'The end of these years.';
comment on column pgsched.zone_rules.changes is 'When the clocks change.';
comment on column pgsched.zone_rules.offsets is 'Seconds east of UTC: before the first change, and from each on.';
comment on column pgsched.zone_rules.noted_at is 'When the rules were noted.';
comment on table pgsched.locks is 'Locks by name: one row for each that is held, or that was not given back in time.';
comment on column pgsched.locks.name is 'What is locked.';
comment on column pgsched.locks.owner is 'Who has it: an id that the owner made up for this one acquisition.';
comment on column pgsched.locks.holder is 'Who has it, for people: host and process.';
comment on column pgsched.locks.fencing_token is 'Grows with every acquisition and never goes back.';
comment on column pgsched.locks.locked_until is 'When the lock ends; past it anybody may take it.';
comment on column pgsched.locks.acquired_at is 'When it was taken.';
comment on constraint lock_holder_must_have_at_most_500_characters on pgsched.locks is '500 characters at most.';
comment on constraint lock_name_must_have_1_to_200_characters on pgsched.locks is '1 to 200 characters.';
comment on constraint lock_name_must_not_contain_control_characters on pgsched.locks is
  'No line ends, tabs or other control characters: names are shown in terminals and logs.';
comment on table pgsched.shards is
  'The databases that form one system, this one among them. Empty: this database stands alone.';
comment on column pgsched.shards.name is 'The name of the shard.';
comment on column pgsched.shards.is_here is 'Whether it is this database.';
comment on column pgsched.shards.is_hashed is
  'Whether the hash of a shard key may choose it. A shard that was added later gets only tenants that are moved '
  'to it.';
comment on column pgsched.shards.changed_at is
  'When the row was last changed. A move of a tenant changes that of this database, by which older snapshots are '
  'noticed.';
comment on constraint shard_name_must_have_1_to_40_letters_digits_and_dots on pgsched.shards is
  'It is a part of addresses.';
comment on index pgsched.shard_is_here_once is 'A database is one shard.';
comment on table pgsched.placements is
  'The tenants that were moved to this database or from it. All others are where their hash says.';
comment on column pgsched.placements.tenant_id is 'The tenant, as in tasks.tenant_id.';
comment on column pgsched.placements.state is
  'arriving or here: it was moved to this database; leaving or left: it was moved from it, and inserts of its '
  'tasks are refused.';
comment on column pgsched.placements.shard is 'Where the tenant is, or moves to: its tasks are inserted there.';
comment on column pgsched.placements.peer is 'The other shard of the last move.';
comment on column pgsched.placements.version is
  'The number of the move; of several statements about a tenant the highest counts.';
comment on column pgsched.placements.changed_at is 'When the state last changed.';
comment on constraint state_must_be_arriving_here_leaving_or_left on pgsched.placements is
  'The states of a move, on either side.';
comment on table pgsched.departing_tasks is
  'Tasks that were taken from pgsched.tasks by a move and are not yet known to have arrived: nobody runs them '
  'here.';
comment on column pgsched.departing_tasks.id is 'Their id in this database.';
comment on column pgsched.departing_tasks.tenant_id is 'The tenant that is moved.';
comment on column pgsched.departing_tasks.task is 'The row as it was.';
comment on index pgsched.departing_tasks_tenant is 'Those of one move, in order.';
comment on table pgsched.arrived_tasks is 'Tasks of tenants that were moved to this database: where they were before.';
comment on column pgsched.arrived_tasks.shard is 'The shard that they came from.';
comment on column pgsched.arrived_tasks.id is 'Their id there.';
comment on column pgsched.arrived_tasks.tenant_id is 'Their tenant.';
comment on column pgsched.arrived_tasks.task_id is
  'Their id here. Null: the task stayed there, and only its idempotency_key is reserved here.';
comment on column pgsched.arrived_tasks.idempotency_key is 'The key of a task that stayed.';
comment on index pgsched.arrived_tasks_key is 'Reserved keys: an insert with one of them is refused.';
comment on table pgsched.settings is 'What holds for queues that say nothing else, and for the history: one row.';
comment on column pgsched.settings.only_row is 'There is no other row.';
comment on column pgsched.settings.retention is
  'Completed and cancelled tasks older than this are deleted, where the queue says nothing else; 0: a task leaves'
  ' in the transaction that completes it. Null: for ever.';
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
comment on column pgsched.settings.allow_short is
  'retention and dead_retention may be shorter than an hour. False: such a value is refused, as a unit was '
  'probably forgotten.';
comment on column pgsched.settings.unknown_types is
  'What becomes of an INSERT of a type that is not in the register: accept, tell (a NOTICE names the type most '
  'like it) or refuse. While the register is empty each is accepted.';
comment on constraint dead_retention_count_must_not_be_negative on pgsched.settings is 'A count.';
comment on constraint dead_retention_must_be_at_least_1_hour_unless_allow_short on pgsched.settings is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days.';
comment on constraint dead_retention_must_be_at_most_1000_years on pgsched.settings is '1000 years stand for ever.';
comment on constraint dead_retention_must_not_be_negative on pgsched.settings is 'No part of it is negative.';
comment on constraint history_retention_must_be_between_1_day_and_1000_years on pgsched.settings is
  'The history is dropped by whole days, so a day is the least; no part of it is negative.';
comment on constraint retention_count_must_not_be_negative on pgsched.settings is 'A count.';
comment on constraint retention_must_be_at_least_1_hour_unless_allow_short on pgsched.settings is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days.';
comment on constraint retention_must_be_at_most_1000_years on pgsched.settings is '1000 years stand for ever.';
comment on constraint retention_must_not_be_negative on pgsched.settings is 'No part of it is negative.';
comment on constraint settings_must_have_one_row on pgsched.settings is
  'They hold for all queues that say nothing else.';
comment on constraint unknown_types_must_be_accept_tell_or_refuse on pgsched.settings is 'One of three words.';
comment on table pgsched.database_identity is
  'The database that the tasks belong to, in one row. Workers do not start in any other database until somebody '
  'adopts it. No row: not noted yet; workers start.';
comment on column pgsched.database_identity.only_row is 'There is no other row.';
comment on column pgsched.database_identity.system_identifier is
  'Of the server, by pg_control_system(). Null: the role that noted it may not call that function; then only the '
  'oid is compared.';
comment on column pgsched.database_identity.database_oid is
  'Of the database in that server. A rename keeps it; create database gives a new one.';
comment on column pgsched.database_identity.database_name is 'The name at that time, for people: it is not compared.';
comment on column pgsched.database_identity.noted_at is 'Since when the tasks belong to it.';
comment on column pgsched.database_identity.noted_by is 'Who noted it: the role that migrated, or who adopted it.';
comment on column pgsched.database_identity.held_at is
  'Since when workers are held back, whatever the identity: for copies of a whole server, which have the same. '
  'Null: they are not.';
comment on column pgsched.database_identity.held_by is 'Who held them back.';
comment on constraint there_must_be_one_database_identity on pgsched.database_identity is 'There is no second row.';
comment on table pgsched.audit_log is 'What people and programs changed through the web, and who they were.';
comment on column pgsched.audit_log.id is 'Given by the database, in the order of the changes.';
comment on column pgsched.audit_log.at is 'When.';
comment on column pgsched.audit_log.actor is 'The name given at login, else the role; local when no tokens are set.';
comment on column pgsched.audit_log.role is 'viewer or operator: which token was used.';
comment on column pgsched.audit_log.remote is 'The address that the request came from.';
comment on column pgsched.audit_log.action is 'What was done, as task.cancel or queue.pause.';
comment on column pgsched.audit_log.task_id is 'To which task; it may be deleted by now.';
comment on column pgsched.audit_log.queue is 'To which queue.';
comment on column pgsched.audit_log.target is 'To what else, in words.';
comment on column pgsched.audit_log.before is 'What was changed, as it was; never a payload.';
comment on column pgsched.audit_log.after is 'What was changed, as it became; never a payload.';
comment on column pgsched.audit_log.task_ids is
  'The tasks that a change to many was made to; one in batches has an entry for each.';
comment on constraint audit_action_must_have_1_to_100_characters on pgsched.audit_log is '1 to 100 characters.';
comment on constraint audit_role_must_be_viewer_or_operator on pgsched.audit_log is 'Which token was used.';
comment on index pgsched.audit_log_by_task is 'The changes of one task.';
comment on index pgsched.audit_log_by_tasks is 'The changes to many that were made to a task, too.';
comment on table pgsched.bulk_changes is
  'Changes to all tasks that fit a filter, made in batches by a dashboard: each batch, its entries in the audit '
  'log and how far the change is are one transaction.';
comment on column pgsched.bulk_changes.id is 'Given by the database.';
comment on column pgsched.bulk_changes.action is
  'What is done to each task: enable, disable, run, cancel, retry or delete.';
comment on column pgsched.bulk_changes.filter is
  'Which tasks: filters by their names, with times as they were when the change was asked for.';
comment on column pgsched.bulk_changes.described is 'The filter as terms of the search language.';
comment on column pgsched.bulk_changes.status is
  'waiting (it can be undone), running, undone (nothing was changed), stopped, failed, or done.';
comment on column pgsched.bulk_changes.actor is 'Who asked for it, as in the audit log.';
comment on column pgsched.bulk_changes.role is 'By which token.';
comment on column pgsched.bulk_changes.remote is 'From which address.';
comment on column pgsched.bulk_changes.created_at is 'When it was asked for.';
comment on column pgsched.bulk_changes.starts_at is 'When it begins, unless it is undone before.';
comment on column pgsched.bulk_changes.ended_at is 'When it was over: done, undone, stopped or failed.';
comment on column pgsched.bulk_changes.expected is
  'Number of tasks that fitted when it was asked for. Null: too many to count.';
comment on column pgsched.bulk_changes.before_id is
  'Tasks with this id or a higher one have been looked at. Null: none has.';
comment on column pgsched.bulk_changes.looked_at is 'Number of tasks that fitted so far.';
comment on column pgsched.bulk_changes.changed is
  'Number of them that were changed; the action did not suit the others.';
comment on column pgsched.bulk_changes.unsuited is 'The first 100 tasks that fitted and stayed as they were.';
comment on column pgsched.bulk_changes.error is 'Why it failed.';
comment on column pgsched.bulk_changes.runner is 'The dashboard that makes it.';
comment on column pgsched.bulk_changes.leased_until is 'Another dashboard goes on with it after this time.';
comment on constraint bulk_action_must_be_known on pgsched.bulk_changes is 'What change_tasks does.';
comment on constraint bulk_status_must_be_known on pgsched.bulk_changes is 'One of six words.';
comment on index pgsched.bulk_changes_open is 'What is to be made.';
comment on table pgsched.revoked_sessions is
  'Sessions of the web face that were logged out before they ended: their cookies open nothing any more.';
comment on column pgsched.revoked_sessions.id is 'The id in the cookie. It opens nothing without the signature.';
comment on column pgsched.revoked_sessions.ends_at is
  'When the session would have ended by itself; the row is deleted later.';
comment on column pgsched.revoked_sessions.revoked_at is 'When it was logged out.';
comment on constraint revoked_session_id_must_have_20_to_64_characters on pgsched.revoked_sessions is 'It is random.';
comment on index pgsched.revoked_sessions_time is 'What was logged out since a moment.';
comment on table pgsched.saved_views is 'Searches of tasks that have a name, for all who look at this database.';
comment on column pgsched.saved_views.name is 'What it is called, in the dashboard and in its address.';
comment on column pgsched.saved_views.query is 'Terms of the search language; times as how long ago stay so.';
comment on column pgsched.saved_views.saved_by is 'Who saved it last.';
comment on column pgsched.saved_views.saved_at is 'When that was.';
comment on constraint view_name_must_be_a_word_of_lower_case on pgsched.saved_views is 'It is a part of an address.';
comment on constraint view_query_must_have_1_to_2000_characters on pgsched.saved_views is 'As a query may have.';
comment on table pgsched.migrations is 'The version of the schema: one row per migration that was applied.';
comment on column pgsched.migrations.version is 'Its number; the highest is the version of the schema.';
comment on column pgsched.migrations.name is 'What it is about.';
comment on column pgsched.migrations.applied_at is 'When.';
comment on column pgsched.migrations.works_with is
  'Programs made for this version of the schema, or a later one, work with it after this migration.';
comment on view pgsched.visible_tasks is
  'The tasks that you may see: all for roles that may read pgsched.tasks; for others those that they inserted, '
  'and their children.';
comment on column pgsched.visible_tasks.id is 'Given by the database.';
comment on column pgsched.visible_tasks.task_type is 'The handler that runs it.';
comment on column pgsched.visible_tasks.task_name is 'A label for people.';
comment on column pgsched.visible_tasks.queue is 'Workers serve queues by name.';
comment on column pgsched.visible_tasks.priority is '1 to 10; 10 runs first.';
comment on column pgsched.visible_tasks.payload is 'A JSON object; its keys become the handler''s keyword arguments.';
comment on column pgsched.visible_tasks.metadata is
  'A JSON object for people and programs; handlers do not get it as arguments.';
comment on column pgsched.visible_tasks.tags is 'Labels to filter by.';
comment on column pgsched.visible_tasks.tenant_id is 'Whose it is, as an organisation; for people and filters.';
comment on column pgsched.visible_tasks.user_id is 'Whose it is, as a person; for people and filters.';
comment on column pgsched.visible_tasks.created_by is 'Who or what made the row; for people and filters.';
comment on column pgsched.visible_tasks.schedule_type is 'one_time, recurring or repeating; derived when left out.';
comment on column pgsched.visible_tasks.scheduled_for is 'The nominal time of the current tick.';
comment on column pgsched.visible_tasks.cron_expression is
  'Recurring: five fields, or six with seconds first, or @daily and the like.';
comment on column pgsched.visible_tasks.timezone is 'The IANA zone in which the schedule is read.';
comment on column pgsched.visible_tasks.start_date is 'No tick before.';
comment on column pgsched.visible_tasks.end_date is 'No tick after.';
comment on column pgsched.visible_tasks.repeat_interval is 'Repeating: from tick to tick.';
comment on column pgsched.visible_tasks.repeat_count is 'Repeating: so many ticks; null means for ever.';
comment on column pgsched.visible_tasks.execution_count is 'Ticks finished.';
comment on column pgsched.visible_tasks.on_missed is 'Ticks that passed while nothing ran: once, skip or all.';
comment on column pgsched.visible_tasks.catchup_window is 'Missed ticks older than this are not run.';
comment on column pgsched.visible_tasks.overlap is 'A tick that comes while the last still runs: skip or allow.';
comment on column pgsched.visible_tasks.jitter is 'Spreads starts: each tick is due up to this much later.';
comment on column pgsched.visible_tasks.enabled is 'False: paused.';
comment on column pgsched.visible_tasks.status is 'pending, running, blocked, completed, dead or cancelled.';
comment on column pgsched.visible_tasks.next_run_at is 'The due clock: when the row may be claimed. Null: never.';
comment on column pgsched.visible_tasks.last_run_at is 'When the last execution began.';
comment on column pgsched.visible_tasks.started_at is 'When the current or last claim was made.';
comment on column pgsched.visible_tasks.completed_at is 'When the task was completed or cancelled.';
comment on column pgsched.visible_tasks.died_at is 'When it failed for good.';
comment on column pgsched.visible_tasks.attempts is 'Attempts of this tick; counted at the claim.';
comment on column pgsched.visible_tasks.max_attempts is 'So many attempts of a tick before it is dead.';
comment on column pgsched.visible_tasks.backoff is 'How the delay of retries grows: exponential, linear or fixed.';
comment on column pgsched.visible_tasks.backoff_delay is 'The delay of the first retry.';
comment on column pgsched.visible_tasks.backoff_max is
  'No retry is delayed longer; backoff_delay counts where that is longer.';
comment on column pgsched.visible_tasks.timeout is 'The longest that one attempt may take. Null: as long as it likes.';
comment on column pgsched.visible_tasks.locked_by is 'The worker that holds the lease.';
comment on column pgsched.visible_tasks.locked_until is
  'When the lease ends; past it any worker may claim the row again.';
comment on column pgsched.visible_tasks.fencing_token is 'Grows by one at every claim and never goes back.';
comment on column pgsched.visible_tasks.idempotency_key is
  'Unique: a second insert with the same key is refused, pgsched.schedule returns the first.';
comment on column pgsched.visible_tasks.depends_on is 'The ids of the tasks it waits for.';
comment on column pgsched.visible_tasks.dependency_mode is 'Whether it waits for all of them or any.';
comment on column pgsched.visible_tasks.on_dependency_dead is
  'What becomes of it when one of them is dead or cancelled: cancel, run (as if that one were completed) or wait '
  '(for its retry).';
comment on column pgsched.visible_tasks.waiting_for is 'How many tasks it still waits for.';
comment on column pgsched.visible_tasks.fired is 'Of a group: the ids of the children of the tick under way.';
comment on column pgsched.visible_tasks.concurrency_key is
  'Whose limits of the queue count for it: a tenant, an account.';
comment on column pgsched.visible_tasks.parent_id is 'The task whose tick or copy this is.';
comment on column pgsched.visible_tasks.progress is 'What the handler last reported of itself.';
comment on column pgsched.visible_tasks.result is 'What the handler last returned.';
comment on column pgsched.visible_tasks.last_error is 'Why the last attempt failed. Null after one that went well.';
comment on column pgsched.visible_tasks.planned_from is
  'When the schedule was made or last changed: its first tick is not before.';
comment on column pgsched.visible_tasks.created_at is 'When the row was inserted.';
comment on column pgsched.visible_tasks.updated_at is 'When it was last edited, finished or cancelled.';
comment on column pgsched.visible_tasks.observed is 'Others wait for it: its end is told them in the same transaction.';
comment on column pgsched.visible_tasks.revision is
  'Grows when the schedule is edited, so that a finish in flight does not overwrite the edit.';
comment on column pgsched.visible_tasks.declared is
  'Of a schedule declared in code: what the code said when it was last taken over.';
comment on column pgsched.visible_tasks.inserted_by is
  'The database role that was logged in when the row was inserted. Producers see their own rows in visible_tasks.';
comment on column pgsched.visible_tasks.backoff_factor is
  'By what an exponential delay grows from retry to retry. Null: 2.';
comment on column pgsched.visible_tasks.backoff_jitter is
  'How far retries are spread around their delay, as a share of it; 0: not at all. Null: 0.2.';
comment on column pgsched.visible_tasks.alert_if_no_success_for is
  'The task is silent when no attempt of it was completed for so long; counted from the first tick while there '
  'was none.';
comment on column pgsched.visible_tasks.alert_if_running_for is 'An attempt that has run for so long is told of.';
comment on column pgsched.visible_tasks.judged_from is
  'No success is asked for before: the last one that workers have noted, or when the task was enabled. Set by '
  'pgsched.';
comment on column pgsched.visible_tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';
comment on view pgsched.departed_tasks is
  'Tasks that left pgsched.tasks when they were completed (retention 0), as the history keeps them. Of '
  'visible_tasks only.';
comment on column pgsched.departed_tasks.id is 'Given by the database.';
comment on column pgsched.departed_tasks.task_type is 'The handler that runs it.';
comment on column pgsched.departed_tasks.task_name is 'A label for people.';
comment on column pgsched.departed_tasks.queue is 'Workers serve queues by name.';
comment on column pgsched.departed_tasks.priority is '1 to 10; 10 runs first.';
comment on column pgsched.departed_tasks.payload is 'A JSON object; its keys become the handler''s keyword arguments.';
comment on column pgsched.departed_tasks.metadata is
  'A JSON object for people and programs; handlers do not get it as arguments.';
comment on column pgsched.departed_tasks.tags is 'Labels to filter by.';
comment on column pgsched.departed_tasks.tenant_id is 'Whose it is, as an organisation; for people and filters.';
comment on column pgsched.departed_tasks.user_id is 'Whose it is, as a person; for people and filters.';
comment on column pgsched.departed_tasks.created_by is 'Who or what made the row; for people and filters.';
comment on column pgsched.departed_tasks.schedule_type is 'one_time, recurring or repeating; derived when left out.';
comment on column pgsched.departed_tasks.scheduled_for is 'The nominal time of the current tick.';
comment on column pgsched.departed_tasks.cron_expression is
  'Recurring: five fields, or six with seconds first, or @daily and the like; options as days=both may follow.';
comment on column pgsched.departed_tasks.timezone is 'The IANA zone in which the schedule is read.';
comment on column pgsched.departed_tasks.start_date is 'No tick before.';
comment on column pgsched.departed_tasks.end_date is 'No tick after.';
comment on column pgsched.departed_tasks.repeat_interval is 'Repeating: from tick to tick.';
comment on column pgsched.departed_tasks.repeat_count is 'Repeating: so many ticks; null means for ever.';
comment on column pgsched.departed_tasks.execution_count is 'Ticks finished.';
comment on column pgsched.departed_tasks.on_missed is 'Ticks that passed while nothing ran: once, skip or all.';
comment on column pgsched.departed_tasks.catchup_window is 'Missed ticks older than this are not run.';
comment on column pgsched.departed_tasks.overlap is 'A tick that comes while the last still runs: skip or allow.';
comment on column pgsched.departed_tasks.jitter is 'Spreads starts: each tick is due up to this much later.';
comment on column pgsched.departed_tasks.enabled is 'False: paused.';
comment on column pgsched.departed_tasks.status is 'pending, running, blocked, completed, dead or cancelled.';
comment on column pgsched.departed_tasks.next_run_at is 'The due clock: when the row may be claimed. Null: never.';
comment on column pgsched.departed_tasks.last_run_at is 'When the last execution began.';
comment on column pgsched.departed_tasks.started_at is 'When the current or last claim was made.';
comment on column pgsched.departed_tasks.completed_at is 'When the task was completed or cancelled.';
comment on column pgsched.departed_tasks.died_at is 'When it failed for good.';
comment on column pgsched.departed_tasks.attempts is 'Attempts of this tick; counted at the claim.';
comment on column pgsched.departed_tasks.max_attempts is 'So many attempts of a tick before it is dead.';
comment on column pgsched.departed_tasks.backoff is 'How the delay of retries grows: exponential, linear or fixed.';
comment on column pgsched.departed_tasks.backoff_delay is 'The delay of the first retry.';
comment on column pgsched.departed_tasks.backoff_max is
  'No retry is delayed longer; backoff_delay counts where that is longer.';
comment on column pgsched.departed_tasks.timeout is 'The longest that one attempt may take. Null: as long as it likes.';
comment on column pgsched.departed_tasks.locked_by is 'The worker that holds the lease.';
comment on column pgsched.departed_tasks.locked_until is
  'When the lease ends; past it any worker may claim the row again.';
comment on column pgsched.departed_tasks.fencing_token is
  'Grows with every claim and never goes back: drawn from pgsched.fencing_tokens.';
comment on column pgsched.departed_tasks.idempotency_key is
  'Unique: a second insert with the same key is refused, pgsched.schedule returns the first.';
comment on column pgsched.departed_tasks.depends_on is 'The ids of the tasks it waits for.';
comment on column pgsched.departed_tasks.dependency_mode is 'Whether it waits for all of them or any.';
comment on column pgsched.departed_tasks.on_dependency_dead is
  'What becomes of it when one of them is dead or cancelled: cancel, run (as if that one were completed) or wait '
  '(for its retry).';
comment on column pgsched.departed_tasks.waiting_for is 'How many tasks it still waits for.';
comment on column pgsched.departed_tasks.fired is 'Of a group: the ids of the children of the tick under way.';
comment on column pgsched.departed_tasks.concurrency_key is
  'Whose limits of the queue count for it: a tenant, an account.';
comment on column pgsched.departed_tasks.parent_id is 'The task whose tick or copy this is.';
comment on column pgsched.departed_tasks.progress is 'What the handler last reported of itself.';
comment on column pgsched.departed_tasks.result is 'What the handler last returned.';
comment on column pgsched.departed_tasks.last_error is 'Why the last attempt failed. Null after one that went well.';
comment on column pgsched.departed_tasks.planned_from is
  'When the schedule was made or last changed: its first tick is not before.';
comment on column pgsched.departed_tasks.created_at is 'When the row was inserted.';
comment on column pgsched.departed_tasks.updated_at is 'When it was last edited, finished or cancelled.';
comment on column pgsched.departed_tasks.observed is
  'Others wait for it: its end is told them in the same transaction.';
comment on column pgsched.departed_tasks.revision is
  'Grows when the schedule is edited, so that a finish in flight does not overwrite the edit.';
comment on column pgsched.departed_tasks.declared is
  'Of a schedule declared in code: what the code said when it was last taken over.';
comment on column pgsched.departed_tasks.inserted_by is
  'The database role that was logged in when the row was inserted. Producers see their own rows in visible_tasks.';
comment on column pgsched.departed_tasks.backoff_factor is
  'By what an exponential delay grows from retry to retry. Null: 2.';
comment on column pgsched.departed_tasks.backoff_jitter is
  'How far retries are spread around their delay, as a share of it; 0: not at all. Null: 0.2.';
comment on column pgsched.departed_tasks.alert_if_no_success_for is
  'The task is silent when no attempt of it was completed for so long; counted from the first tick while there '
  'was none.';
comment on column pgsched.departed_tasks.alert_if_running_for is 'An attempt that has run for so long is told of.';
comment on column pgsched.departed_tasks.judged_from is
  'No success is asked for before: the last one that workers have noted, or when the task was enabled. Set by '
  'pgsched.';
comment on column pgsched.departed_tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';
comment on view pgsched.departed_keys is
  'The keys of departed_tasks, to look one up by an index; of those that you may see only. A key may have left '
  'more than once.';
comment on column pgsched.departed_keys.idempotency_key is 'The key that the task had.';
comment on column pgsched.departed_keys.id is 'The task.';
comment on view pgsched.known_tasks is 'visible_tasks, then departed_tasks: to look a task up by its id.';
comment on column pgsched.known_tasks.id is 'Given by the database.';
comment on column pgsched.known_tasks.task_type is 'The handler that runs it.';
comment on column pgsched.known_tasks.task_name is 'A label for people.';
comment on column pgsched.known_tasks.queue is 'Workers serve queues by name.';
comment on column pgsched.known_tasks.priority is '1 to 10; 10 runs first.';
comment on column pgsched.known_tasks.payload is 'A JSON object; its keys become the handler''s keyword arguments.';
comment on column pgsched.known_tasks.metadata is
  'A JSON object for people and programs; handlers do not get it as arguments.';
comment on column pgsched.known_tasks.tags is 'Labels to filter by.';
comment on column pgsched.known_tasks.tenant_id is 'Whose it is, as an organisation; for people and filters.';
comment on column pgsched.known_tasks.user_id is 'Whose it is, as a person; for people and filters.';
comment on column pgsched.known_tasks.created_by is 'Who or what made the row; for people and filters.';
comment on column pgsched.known_tasks.schedule_type is 'one_time, recurring or repeating; derived when left out.';
comment on column pgsched.known_tasks.scheduled_for is 'The nominal time of the current tick.';
comment on column pgsched.known_tasks.cron_expression is
  'Recurring: five fields, or six with seconds first, or @daily and the like; options as days=both may follow.';
comment on column pgsched.known_tasks.timezone is 'The IANA zone in which the schedule is read.';
comment on column pgsched.known_tasks.start_date is 'No tick before.';
comment on column pgsched.known_tasks.end_date is 'No tick after.';
comment on column pgsched.known_tasks.repeat_interval is 'Repeating: from tick to tick.';
comment on column pgsched.known_tasks.repeat_count is 'Repeating: so many ticks; null means for ever.';
comment on column pgsched.known_tasks.execution_count is 'Ticks finished.';
comment on column pgsched.known_tasks.on_missed is 'Ticks that passed while nothing ran: once, skip or all.';
comment on column pgsched.known_tasks.catchup_window is 'Missed ticks older than this are not run.';
comment on column pgsched.known_tasks.overlap is 'A tick that comes while the last still runs: skip or allow.';
comment on column pgsched.known_tasks.jitter is 'Spreads starts: each tick is due up to this much later.';
comment on column pgsched.known_tasks.enabled is 'False: paused.';
comment on column pgsched.known_tasks.status is 'pending, running, blocked, completed, dead or cancelled.';
comment on column pgsched.known_tasks.next_run_at is 'The due clock: when the row may be claimed. Null: never.';
comment on column pgsched.known_tasks.last_run_at is 'When the last execution began.';
comment on column pgsched.known_tasks.started_at is 'When the current or last claim was made.';
comment on column pgsched.known_tasks.completed_at is 'When the task was completed or cancelled.';
comment on column pgsched.known_tasks.died_at is 'When it failed for good.';
comment on column pgsched.known_tasks.attempts is 'Attempts of this tick; counted at the claim.';
comment on column pgsched.known_tasks.max_attempts is 'So many attempts of a tick before it is dead.';
comment on column pgsched.known_tasks.backoff is 'How the delay of retries grows: exponential, linear or fixed.';
comment on column pgsched.known_tasks.backoff_delay is 'The delay of the first retry.';
comment on column pgsched.known_tasks.backoff_max is
  'No retry is delayed longer; backoff_delay counts where that is longer.';
comment on column pgsched.known_tasks.timeout is 'The longest that one attempt may take. Null: as long as it likes.';
comment on column pgsched.known_tasks.locked_by is 'The worker that holds the lease.';
comment on column pgsched.known_tasks.locked_until is
  'When the lease ends; past it any worker may claim the row again.';
comment on column pgsched.known_tasks.fencing_token is
  'Grows with every claim and never goes back: drawn from pgsched.fencing_tokens.';
comment on column pgsched.known_tasks.idempotency_key is
  'Unique: a second insert with the same key is refused, pgsched.schedule returns the first.';
comment on column pgsched.known_tasks.depends_on is 'The ids of the tasks it waits for.';
comment on column pgsched.known_tasks.dependency_mode is 'Whether it waits for all of them or any.';
comment on column pgsched.known_tasks.on_dependency_dead is
  'What becomes of it when one of them is dead or cancelled: cancel, run (as if that one were completed) or wait '
  '(for its retry).';
comment on column pgsched.known_tasks.waiting_for is 'How many tasks it still waits for.';
comment on column pgsched.known_tasks.fired is 'Of a group: the ids of the children of the tick under way.';
comment on column pgsched.known_tasks.concurrency_key is
  'Whose limits of the queue count for it: a tenant, an account.';
comment on column pgsched.known_tasks.parent_id is 'The task whose tick or copy this is.';
comment on column pgsched.known_tasks.progress is 'What the handler last reported of itself.';
comment on column pgsched.known_tasks.result is 'What the handler last returned.';
comment on column pgsched.known_tasks.last_error is 'Why the last attempt failed. Null after one that went well.';
comment on column pgsched.known_tasks.planned_from is
  'When the schedule was made or last changed: its first tick is not before.';
comment on column pgsched.known_tasks.created_at is 'When the row was inserted.';
comment on column pgsched.known_tasks.updated_at is 'When it was last edited, finished or cancelled.';
comment on column pgsched.known_tasks.observed is 'Others wait for it: its end is told them in the same transaction.';
comment on column pgsched.known_tasks.revision is
  'Grows when the schedule is edited, so that a finish in flight does not overwrite the edit.';
comment on column pgsched.known_tasks.declared is
  'Of a schedule declared in code: what the code said when it was last taken over.';
comment on column pgsched.known_tasks.inserted_by is
  'The database role that was logged in when the row was inserted. Producers see their own rows in visible_tasks.';
comment on column pgsched.known_tasks.backoff_factor is
  'By what an exponential delay grows from retry to retry. Null: 2.';
comment on column pgsched.known_tasks.backoff_jitter is
  'How far retries are spread around their delay, as a share of it; 0: not at all. Null: 0.2.';
comment on column pgsched.known_tasks.alert_if_no_success_for is
  'The task is silent when no attempt of it was completed for so long; counted from the first tick while there '
  'was none.';
comment on column pgsched.known_tasks.alert_if_running_for is 'An attempt that has run for so long is told of.';
comment on column pgsched.known_tasks.judged_from is
  'No success is asked for before: the last one that workers have noted, or when the task was enabled. Set by '
  'pgsched.';
comment on column pgsched.known_tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';
comment on view pgsched.visible_executions is
  'The history of the tasks in visible_tasks; all of it for roles that may read pgsched.executions.';
comment on column pgsched.visible_executions.task_id is 'The task; it may be deleted by now.';
comment on column pgsched.visible_executions.task_type is 'Its handler.';
comment on column pgsched.visible_executions.queue is 'Its queue.';
comment on column pgsched.visible_executions.attempt is
  'Which attempt at the tick it was, from 1. 0: one that is not counted, lost with the transaction that had '
  'locked the task.';
comment on column pgsched.visible_executions.fencing_token is
  'The token of the claim: with task_id it names the attempt.';
comment on column pgsched.visible_executions.scheduled_for is 'The tick that it was for.';
comment on column pgsched.visible_executions.worker_id is 'The worker that made it; null when there was none.';
comment on column pgsched.visible_executions.status is
  'completed, failed, timed_out, cancelled or lost (its worker died or was cut off).';
comment on column pgsched.visible_executions.started_at is
  'When the handler began; of a lost or cancelled attempt, when it was claimed.';
comment on column pgsched.visible_executions.finished_at is 'When it ended, or was found to be lost.';
comment on column pgsched.visible_executions.duration_ms is 'How long it took, in milliseconds.';
comment on column pgsched.visible_executions.result is 'What the handler returned.';
comment on column pgsched.visible_executions.error is
  'Why it failed, with the traceback; cut in the middle at 16,384 characters.';
comment on view pgsched.visible_missed_ticks is
  'The missed ticks of the tasks in visible_tasks; all of them for roles that may read pgsched.missed_ticks.';
comment on column pgsched.visible_missed_ticks.task_id is 'The schedule.';
comment on column pgsched.visible_missed_ticks.task_type is 'Its handler.';
comment on column pgsched.visible_missed_ticks.queue is 'Its queue.';
comment on column pgsched.visible_missed_ticks.reason is
  'The on_missed policy that decided it; overlap: the last run was still running; edit: the schedule was edited '
  'while a retry waited.';
comment on column pgsched.visible_missed_ticks.ticks is 'How many; for cron 999 or 1000 means at least so many.';
comment on column pgsched.visible_missed_ticks.first_tick is 'The first of them.';
comment on column pgsched.visible_missed_ticks.next_tick is
  'The tick that was run or booked instead. Null: the schedule is over, or was edited.';
comment on column pgsched.visible_missed_ticks.noted_at is 'When it was decided.';
comment on view pgsched.running_attempts is
  'The attempts under way: who makes them, and since when. Of visible_tasks only; of tasks that take a few '
  'milliseconds not all.';
comment on column pgsched.running_attempts.task_id is 'The task.';
comment on column pgsched.running_attempts.task_type is 'Its handler.';
comment on column pgsched.running_attempts.queue is 'Its queue.';
comment on column pgsched.running_attempts.attempt is 'Which attempt at the tick it is, from 1.';
comment on column pgsched.running_attempts.fencing_token is
  'The token of the claim: with task_id it names the attempt.';
comment on column pgsched.running_attempts.scheduled_for is 'The tick that it is for.';
comment on column pgsched.running_attempts.worker_id is 'The worker that makes it.';
comment on column pgsched.running_attempts.started_at is 'Since when.';
comment on column pgsched.running_attempts.locked_until is
  'Until when the worker has it without another heartbeat. In the past: the worker is silent, and another one '
  'will take the task.';
comment on column pgsched.running_attempts.hostname is 'The machine; null for roles that may not read worker_hosts.';
comment on column pgsched.running_attempts.pid is 'The process on it.';
comment on view pgsched.visible_worker_hosts is
  'worker_hosts for roles that may read it, and nothing for others: so everybody may ask for both at once.';
comment on column pgsched.visible_worker_hosts.id is 'The worker: worker_id of the history, locked_by of tasks.';
comment on column pgsched.visible_worker_hosts.hostname is 'The machine.';
comment on column pgsched.visible_worker_hosts.pid is 'The process on it.';
comment on column pgsched.visible_worker_hosts.started_at is 'When it started.';
comment on column pgsched.visible_worker_hosts.last_seen is
  'When it was last known to be there: at its end, else when the history was last pruned.';
comment on view pgsched.watched_tasks is
  'Tasks with alert_if_no_success_for or alert_if_running_for, and how they stand. Neither paused tasks nor those'
  ' of a paused queue are silent. Of visible_tasks only.';
comment on column pgsched.watched_tasks.task_id is 'The task.';
comment on column pgsched.watched_tasks.task_type is 'Its type.';
comment on column pgsched.watched_tasks.task_name is 'Its label.';
comment on column pgsched.watched_tasks.queue is 'Its queue.';
comment on column pgsched.watched_tasks.alert_if_no_success_for is 'For how long it may have no success.';
comment on column pgsched.watched_tasks.no_success_since is
  'The last success, or since when there should be one; in the future: it is not due yet. Null: it is not judged.';
comment on column pgsched.watched_tasks.alert_if_running_for is 'How long an attempt may run.';
comment on column pgsched.watched_tasks.running_task_id is 'The row that runs: the task itself, or a child of it.';
comment on column pgsched.watched_tasks.running_since is 'When the longest of its attempts began that runs now.';
comment on column pgsched.watched_tasks.is_silent is 'It has had no success for alert_if_no_success_for.';
comment on column pgsched.watched_tasks.runs_too_long is 'An attempt has run for alert_if_running_for.';
comment on view pgsched.visible_durable_runs is
  'The durable runs of the tasks in visible_tasks; all of them for roles that may read pgsched.durable_runs.';
comment on column pgsched.visible_durable_runs.task_id is 'The task.';
comment on column pgsched.visible_durable_runs.tick_number is
  'Which tick of the task it is, from 1; always 1 for a one-time task.';
comment on column pgsched.visible_durable_runs.began_at is
  'When the run began: its steps are filed under this time. A new tick and ctx.restart_with() begin another run.';
comment on column pgsched.visible_durable_runs.code_version is 'The version of the code that began it.';
comment on column pgsched.visible_durable_runs.awaits is
  'While the task is blocked in a wait: what ends the wait, as event:NAME, child:ID and time.';
comment on column pgsched.visible_durable_runs.wakes_at is
  'While the task is blocked in a wait: when the first timeout or sleep among its waits is over.';
comment on column pgsched.visible_durable_runs.unasked is
  'Recorded steps that the code no longer asked for when it went on behind them; the doctor reports them.';
comment on view pgsched.visible_durable_steps is
  'The recorded steps of the tasks in visible_tasks; all of them for roles that may read pgsched.durable_steps.';
comment on column pgsched.visible_durable_steps.task_id is 'The task; it may be deleted by now.';
comment on column pgsched.visible_durable_steps.began_at is 'The run.';
comment on column pgsched.visible_durable_steps.tick_number is 'Which tick of the task the run is, from 1.';
comment on column pgsched.visible_durable_steps.name is
  'The name that the handler gives it; with key it is unique in a run.';
comment on column pgsched.visible_durable_steps.key is
  'What tells steps of one name apart, as those of a loop; empty: nothing.';
comment on column pgsched.visible_durable_steps.kind is
  'step (a function that was called), sleep, event (a wait for one), child (another task), value (a time, a '
  'random number) or patch.';
comment on column pgsched.visible_durable_steps.status is
  'waiting, failing (it is tried again), completed, or failed for good: all its attempts failed, or the wait '
  'timed out.';
comment on column pgsched.visible_durable_steps.attempts is 'Attempts of the step that have ended.';
comment on column pgsched.visible_durable_steps.result is
  'What the step returned, the payload of the event, the result of the child.';
comment on column pgsched.visible_durable_steps.error is 'Why its last attempt failed.';
comment on column pgsched.visible_durable_steps.child_id is 'The child task.';
comment on column pgsched.visible_durable_steps.cancels_child is 'Whether the child is cancelled with this task.';
comment on column pgsched.visible_durable_steps.event_id is 'The event that ended the wait.';
comment on column pgsched.visible_durable_steps.wakes_at is
  'When the sleep ends, the wait times out, or the step is tried again.';
comment on column pgsched.visible_durable_steps.started_at is 'When it was begun first.';
comment on column pgsched.visible_durable_steps.finished_at is 'When it was completed, or failed for good.';
comment on column pgsched.visible_durable_steps.fencing_token is 'The claim that recorded it last.';
comment on view pgsched.visible_durable_events is
  'The events that were sent to the tasks in visible_tasks; all of them for roles that may read '
  'pgsched.durable_events.';
comment on column pgsched.visible_durable_events.id is
  'Given by the database; of events of one name the lowest is consumed first.';
comment on column pgsched.visible_durable_events.task_id is 'The task that it was sent to.';
comment on column pgsched.visible_durable_events.tick_number is
  'The tick that was under way, or was the next one: an event that no wait has consumed is not left to another '
  'tick.';
comment on column pgsched.visible_durable_events.name is 'What the task waits for.';
comment on column pgsched.visible_durable_events.payload is 'What the wait returns: any JSON value.';
comment on column pgsched.visible_durable_events.key is
  'A second event of the same task, tick, name and key is not stored. Null: every one is.';
comment on column pgsched.visible_durable_events.sent_by is 'The database role that sent it.';
comment on column pgsched.visible_durable_events.sent_at is 'When it was sent.';
comment on column pgsched.visible_durable_events.consumed_at is 'When a wait took it. Null: none has.';
comment on column pgsched.visible_durable_events.sent_in is
  'The transaction that sent it. Those that send several events lock their tasks in the order of the ids.';
comment on function pgsched.schedule is 'Inserts a task and returns its id; on a known idempotency_key it returns the id of the task that has it. Null stands for the default of the column.
run_at: Once, at this time; excludes delay and every kind of schedule.
delay: Once, so long from now, a day being 24 hours; excludes run_at and every kind of schedule.
backoff_factor: By what an exponential delay grows from retry to retry: 1 to 1000.
backoff_jitter: How far retries are spread around their delay, as a share of it: 0 to 1.
expires_at: One-time tasks: one that has not started by then is cancelled instead.';
comment on function pgsched.schedule_by_key is
  'Inserts a task, unless one has its idempotency_key: then on_conflict says what becomes of that. return (keep):'
  ' it stays, and differs names what it has otherwise than given; update: it is changed to what is given; '
  'replace: it is cancelled if it is not over, gives up the key, and the new one is inserted; refused while it '
  'runs; raise: unique_violation. The keys of the object are the arguments of schedule(); times without an offset'
  ' are UTC. outcome: created, existing, updated, unchanged or replaced.';
comment on function pgsched.schedule_unique is 'Inserts a task unless one like it holds: then on_conflict says what becomes of that, as in schedule_by_key().
task: The arguments of schedule(). Its idempotency_key says which task is like it; without one by does.
by: What makes two tasks of a type alike: payload (the default), payload.KEY, queue.
within: A task also holds for so long from when it was made, whatever has become of it, unless it was cancelled.
states: In which it holds: pending, blocked and running, unless they are given.
debounce: It starts so long after the last call: each one moves a task that has not started, and changes what is given.
max_wait: With debounce: it starts at the latest so long after the first call.';
comment on function pgsched.upsert is
  'Inserts a task, or changes the one with its idempotency_key: only what is given. Returns its id, and whether '
  'it was created, updated or unchanged. The keys of the object are the arguments of schedule(); times without an'
  ' offset are UTC.';
comment on function pgsched.task_id is
  'The id of the task that has this idempotency_key, or had it when it left; of those that you may see. Raises '
  'no_data_found as the other functions do for an unknown id.';
comment on function pgsched.run_now is 'Makes a waiting one-time task due now; for any other runs a copy (a child with parent_id) and leaves the task as it is. Returns the id that runs.
id: The task.
run_by: Who asks for it: the created_by of the copy, and the run_by of its attempts in the history of the task. By default the database role.';
comment on function pgsched.run_by is
  'Who ran a task by hand, from these columns of it: the created_by of a copy that run_now has made; null for any'
  ' other task.';
comment on function pgsched.history is 'The attempts at a task, the latest first, with the one under way; of a schedule also those of the children that run its ticks, and those that somebody ran by hand (run_by). Of tasks that the caller may see.
id: The task.
max_rows: At most so many.';
comment on function pgsched.enable is
  'Lets a paused task run again; ticks that passed meanwhile follow on_missed, and without catch_up none of them '
  'runs. True if it was paused.';
comment on function pgsched.disable is 'Pauses a task: it keeps its place and is not claimed. True if it was not paused before.
id: The task.';
comment on function pgsched.cancel is 'Stops a task for good: at once while it waits; while it runs its worker is told, and what it still writes is refused.
id: The task.';
comment on function pgsched.retry is 'Gives a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now; with another payload if one is given. Where it is a step, its group goes on.
id: The task.
payload: What it has as its payload from now on; null: what it has.';
comment on function pgsched.retry_locked is
  'For the schema: as retry, of a task whose group and its steps are locked (lock_steps).';
comment on function pgsched.replan is
  'Books a schedule afresh from now, whatever it was booked for; returns when it is due, null when it is over.';
comment on function pgsched.backfill is
  'Runs the ticks of a schedule in a past range, each as a child with parent_id; not those that ran already, or '
  'are still to run. outcome: run (it is to run; in a dry run without a task), ran (task_id ran it), booked (the '
  'schedule runs it itself).';
comment on function pgsched.skip_next is
  'Skips the booked tick of a schedule, and notes that; again for one more. Returns it, and the tick that is '
  'booked instead: null when the schedule is over.';
comment on function pgsched.status is
  'How a task is: status, attempts, next run, progress, result, error, and what a durable one waits for. Of tasks'
  ' that the caller may see.';
comment on function pgsched.wait is
  'Waits until a task is completed and returns its result; of a schedule, and of a task that follows one, that of'
  ' its next completed tick. SQLSTATE PG002: it is dead or cancelled; PG003: the time is over. Looks after 10 ms,'
  ' then less often, at last twice a second.';
comment on function pgsched.count_tasks is 'How many tasks are in each status. exact: counted by an index; otherwise estimated from the planner''s statistics, since there are too many to count.
queue: In this queue; null: in all.';
comment on function pgsched.about_rows is
  'For count_tasks: an estimate of how many tasks fit a condition, from the planner''s statistics.';
comment on function pgsched.upcoming is 'What will run from now on until within has passed, the first one first: one-time tasks and schedules, each schedule once, by its next run. Not what is due already, waits for others or is paused.
within: How far to look ahead.
max_rows: Maximum number of rows.
queue: In this queue; null: in all.
after_time: With after_id, the run_at and task_id of the last row of the page before: the next page.
after_id: As after_time.';
comment on function pgsched.change_tasks is 'Does one thing to each of these tasks that it suits, in one transaction; returns the ids of those that were changed.
action: enable, disable, run, cancel, retry or delete.
ids: The tasks.
dry_run: True: changes nothing and only returns which it would be.
run_by: Who asks for the runs, as of run_now.';
comment on function pgsched.cancel_waiting is
  'For the schema: cancels those of these tasks, which the caller has locked, that wait for their time and whose '
  'end is nobody else''s business: without dependents, children, a suspended run, and events of their queue. '
  'Returns their ids.';
comment on function pgsched.may_change is 'Whether an action suits a task as it is.
action: enable, disable, run, cancel, retry or delete.
task: The row of the task.';
comment on function pgsched.edit_payloads is 'Changes the payloads of tasks that wait for a run (pending, blocked, schedules) by a merge patch (RFC 7396), in one transaction; returns those that it changes, with a refusal for each that stays as it is because its new payload is not allowed.
ids: The tasks.
patch: An object: what it has is set, what is null in it is removed, objects are merged, all else is replaced.
dry_run: True: changes nothing and only returns which it would be.';
comment on function pgsched.merge_patch is
  'JSON with the changes that a merge patch (RFC 7396) makes: what it has is set, what is null in it is removed, '
  'objects are merged, all else is replaced.';
comment on function pgsched.version_of is 'The version of a task: another one after each edit, the same whatever workers do with it.
task: The row, as to_jsonb(t).';
comment on function pgsched.differing is
  'For the schema: which of the arguments of schedule() that are given a task has otherwise; a delay is not '
  'compared.';
comment on function pgsched.give_up_key is
  'For the schema: takes its key from a task that is to be replaced, and cancels it if it is not over.';
comment on function pgsched.unique_key is
  'The idempotency_key that schedule_unique() gives a task: its own, or one made of its type and of what by '
  'names: payload (the default), payload.KEY, queue.';
comment on function pgsched.locked_task is
  'For the schema: a task, locked until the end of the transaction; raises no_data_found.';
comment on function pgsched.instant_after is
  'For the schema: the instant so far from now, in text that any session reads alike.';
comment on function pgsched.prepare_task is
  'For the schema: derives what an INSERT left out, refuses what makes no sense, sets the due clock and wakes a '
  'worker that sleeps past it.';
comment on function pgsched.guard_task is
  'For the schema: refuses an INSERT that sets what only a run of the task can say.';
comment on function pgsched.guard_placement is
  'For the schema: refuses to insert a task of a tenant that was moved to another database, or with a key that is'
  ' in use there.';
comment on function pgsched.keep_ids_ahead is
  'For the schema: lets the sequence of ids pass an id that was given by hand.';
comment on function pgsched.check_schedule is
  'For the schema: refuses a time zone or a cron expression that cannot be read.';
comment on function pgsched.check_timezone is 'For the schema: refuses what is no name of a time zone.';
comment on function pgsched.touch_task is 'For the schema: keeps updated_at in step with edits.';
comment on function pgsched.move_due_clock is
  'For the schema: a one-time task whose scheduled_for is edited becomes due then.';
comment on function pgsched.announce_task is 'For the schema: wakes a worker when an UPDATE makes a task due earlier.';
comment on function pgsched.wake_sleepers is
  'For the schema: notifies the workers of a queue, if one sleeps past a time.';
comment on function pgsched.notify is
  'For the schema: sends a notification, unless half of the server''s notification queue is in use: a full one '
  'would fail the commit.';
comment on function pgsched.tell_cancelled is
  'For the schema: sends the event that a task was cancelled, if its queue tells events.';
comment on function pgsched.watch_task is
  'For the schema: checks when silence is to be told of, and counts it afresh when a task is enabled.';
comment on function pgsched.check_expiry is
  'For the schema: refuses an expires_at of a schedule, and one before the task is due.';
comment on function pgsched.register is
  'For workers: writes handlers into the register. Returns the types whose entry is new or has changed.';
comment on function pgsched.with_version is
  'For the schema: the versions of a handler with one that registers: a new one is the newest, a known one stays '
  'where it is unless a deployment says that it is the newest.';
comment on function pgsched.code_of is
  'For the schema: what tells a version of a handler''s code from others: the version, and the schema of its '
  'payload, for applications that name none.';
comment on function pgsched.note_misfit is
  'For workers whose handler a payload does not fit: the newest version of the handler''s code when theirs is '
  'older (else null), how often the task has waited for it and for how many seconds; notes it in the register.';
comment on function pgsched.set_defaults is
  'Sets the options that the tasks of a handler or a queue (kind) have unless somebody with more to say says '
  'otherwise, instead of those it had; {} takes them away. True if that changed something.';
comment on function pgsched.resolved is
  'A task with the options that it does not say, as an INSERT would have them: from its handler, else its queue, '
  'else pgsched.';
comment on function pgsched.check_type is
  'For the schema: tells of a type that is not registered, and refuses a payload that its strict handler would '
  'refuse.';
comment on function pgsched.tell_unknown is
  'For the schema: does with a type that is not registered what the settings say: accepts it, raises a NOTICE (of'
  ' SQLSTATE PG001), or refuses it.';
comment on function pgsched.nearest_type is 'The registered type whose name is most like another; null when none is.';
comment on function pgsched.check_payload is
  'For the schema: refuses a payload that lacks a required key, has an unknown one, or one of another JSON type.';
comment on function pgsched.recheck_payload is
  'For the schema: refuses a payload that is edited to what its strict handler would refuse.';
comment on function pgsched.book_new is 'For the schema: a schedule that is inserted, with its first tick.';
comment on function pgsched.book_task is 'For the schema: books a schedule that waits without a tick.';
comment on function pgsched.booked is
  'For the schema: a schedule with its first tick at or after an instant; completed when there is none.';
comment on function pgsched.first_tick is
  'For the schema: the first tick of a schedule at or after an instant, from its start to its end; null when '
  'there is none.';
comment on function pgsched.due_at is 'For the schema: when a tick of a task is due: up to its jitter later.';
comment on function pgsched.rebook is
  'For workers: the next tick of a schedule that was edited while it ran; notes the ticks that came meanwhile.';
comment on function pgsched.replan_task is
  'For the schema: an edited schedule is planned afresh: at once when it waits, after its run when it runs.';
comment on function pgsched.settle_task is 'For the schema: tells who waits for a schedule that an edit has ended.';
comment on function pgsched.guard_tick is 'For the schema: refuses an UPDATE that gives a schedule another tick.';
comment on function pgsched.pass_early_ticks is
  'For the schema: books the next tick for a schedule whose booked one ran while the database''s clock was ahead.';
comment on function pgsched.refuse_tick is 'For the schema: refuses a time that is given to a schedule by hand.';
comment on function pgsched.note_dropped is 'For the schema: notes the ticks of a schedule that an edit took from it.';
comment on function pgsched.note_rest is
  'For the schema: notes the ticks that an edit takes from a schedule that runs.';
comment on function pgsched.pass_over is
  'For the schema: lets a schedule that waits pass over its ticks up to an instant.';
comment on function pgsched.declaration is 'For the schema: what code may declare of a schedule, as one value.';
comment on function pgsched.read_cron is
  'For the schema: a cron expression as sets of bits, or the rule that it breaks.';
comment on function pgsched.cron_problem is 'The rule that a cron expression breaks, or null when it can be read.
expression: Five fields, or six with seconds first, or @daily and the like.';
comment on function pgsched.cron_number is
  'For the schema: the number that a word of a cron field stands for; null when it stands for none.';
comment on function pgsched.shown_word is 'For the schema: a word of a cron expression as a message shows it.';
comment on function pgsched.number_problem is 'For the schema: why a word of a cron field stands for no number.';
comment on function pgsched.calendar_days is
  'For workers: the days of the calendars that a cron expression names; null when there are none.';
comment on function pgsched.follow_calendar is
  'For the schema: plans the schedules of a calendar afresh when its days change.';
comment on function pgsched.next_ticks is 'The next ticks of a cron expression, strictly after an instant: what pgsched task next shows, for every language.
expression: Five fields, or six with seconds first, or @daily and the like, and options.
timezone: The IANA zone in which it is read.
from_time: The ticks are those after it; now if left out.
count: How many, 1 to 10000; fewer when there are no more before the year 9999 ends.';
comment on function pgsched.cron_tick is
  'For the schema: the first tick of a cron expression at or after an instant, in the session''s zone.';
comment on function pgsched.wall_from is
  'For the schema: the first wall-clock time at or after another that a cron expression names.';
comment on function pgsched.matching_days is
  'For the schema: the days of one month that a cron expression names, as a set of bits.';
comment on function pgsched.open_days is
  'For the schema: the days of one month on which a cron expression ticks that leaves days out, as a set of bits.';
comment on function pgsched.month_days is
  'For the schema: the days of a month that a cron expression names, as a set of bits.';
comment on function pgsched.month_length is 'For the schema: how many days a month has.';
comment on function pgsched.is_excepted is 'For the schema: whether a cron expression leaves a day out.';
comment on function pgsched.lowest_bit is 'For the schema: the number of the lowest bit that is set.';
comment on function pgsched.next_interval_ticks is 'The next ticks of an interval: the points of a grid that begins at start_date.
repeat_interval: From tick to tick; months and days keep the wall clock, hours and less are elapsed time.
timezone: The IANA zone of that wall clock.
start_date: Where the grid begins; now if left out.
from_time: The ticks are those after it; if left out, those from start_date on.
count: How many, 1 to 10000; fewer when there are no more before the year 9999 ends.';
comment on function pgsched.grid_tick is
  'For the schema: the first instant of a grid of intervals at or after another, in the session''s zone.';
comment on function pgsched.grid_point is
  'For the schema: an instant and so many intervals after it, in the session''s zone.';
comment on function pgsched.elapsed_part is
  'For the schema: the microseconds of an interval beside its months and days.';
comment on function pgsched.interval_parts is 'For the schema: months, days and seconds of an interval.';
comment on function pgsched.early_reading is
  'For the schema: the earlier instant that a wall-clock time of the session''s zone may mean.';
comment on function pgsched.clock_change is
  'For the schema: when the clocks of the session''s zone change between two instants.';
comment on function pgsched.read_zone is
  'For workers: the rules of a time zone for the years to come, as the database knows them.';
comment on function pgsched.offset_at is
  'For the schema: how far a zone is ahead of UTC at a time; null beyond the years that are known.';
comment on function pgsched.move_tick is 'For the schema: the tick of a schedule by the new rules of its zone.';
comment on function pgsched.follow_zones is
  'For workers: moves what was booked by rules of time zones that have changed since; returns these zones, and '
  'how many schedules moved.';
comment on function pgsched.settle is
  'For workers: tells the tasks that wait for these that they have ended; returns how many of them go on or are '
  'cancelled.';
comment on function pgsched.settle_ended is
  'For workers: as settle. told: their ends were told before, so nobody follows them anew.';
comment on function pgsched.has_left is
  'For the schema: whether a completed task left its row on completion (retention 0) and is in the history only.';
comment on function pgsched.follow is
  'For the schema: makes the runs of the tasks that follow a schedule, for a tick that this task ran: the '
  'schedule or a child. Returns how many.';
comment on function pgsched.follow_tick is
  'For the schema: a schedule that somebody waits for has ended a tick: makes the runs of the tasks that follow '
  'it.';
comment on function pgsched.check_follower is
  'For the schema: refuses dependency_mode each for a row that does not follow one schedule.';
comment on function pgsched.guard_follower is
  'For the schema: checks a row that follows a schedule, and that rows neither begin nor cease to follow by an '
  'edit.';
comment on function pgsched.block_task is 'For the schema: makes a row one that waits for others.';
comment on function pgsched.check_dependencies is
  'For the schema: refuses ids in depends_on that are not there, and circles.';
comment on function pgsched.add_dependencies is 'For the schema: writes down whom a blocked task waits for.';
comment on function pgsched.change_dependencies is
  'For the schema: depends_on of a task that has not begun was edited.';
comment on function pgsched.watch_dependencies is
  'For the schema: at the commit of a task that waits: marks those it waits for, and settles what has ended by '
  'then.';
comment on function pgsched.forget_dependencies is
  'For the schema: a deleted task waits for nothing, and who waits for it is told.';
comment on function pgsched.fire_group is
  'For workers: makes the children of a claimed group. Returns how many; null when the claim was lost.';
comment on function pgsched.join_group is
  'For workers: what came of the children of a claimed group. No row when the claim was lost.';
comment on function pgsched.make_steps is
  'For the schema: inserts the steps of a plan, of which the first ones may be there, as children of a group. '
  'Returns how many.';
comment on function pgsched.add_steps is 'Adds steps to a group whose steps run, which then waits for them, too. Returns their ids. Their order is that among themselves; after may name steps that are there.
id: The group.
steps: The steps, as in the plan of a group.';
comment on function pgsched.add_steps_by is
  'For workers: add_steps to the group of a step, for the attempt that has just ended; null when the claim was '
  'lost.';
comment on function pgsched.lock_steps is
  'For the schema: locks what a retry of these tasks may change, where they are steps of groups, in the order in '
  'which finishes lock it.';
comment on function pgsched.torn_groups is
  'For the schema: the groups of these steps that have a step which was cancelled because of another one.';
comment on function pgsched.rejoin is
  'For the schema: lets the group of a step that was retried wait for it again, and with it the steps that were '
  'cancelled because of it.';
comment on function pgsched.group_steps is 'For the schema: the steps of a group, one a row.';
comment on function pgsched.group_edges is 'For the schema: which step of a group waits for which.';
comment on function pgsched.group_problem is 'The rule that the payload of a group breaks, or null.
payload: An object with steps, as pgsched.flow makes it.';
comment on function pgsched.check_group is 'For the schema: refuses a plan of steps that breaks a rule.';
comment on function pgsched.recheck_group is 'For the schema: checks the plan of a group that is edited.';
comment on function pgsched.emit(id bigint, name text, payload jsonb, key text) is 'Sends an event to a durable task, in the transaction of the sender; returns the id of the event.
id: The task.
name: What the task waits for, or will wait for.
payload: What the wait returns: any JSON value.
key: A second event of the same name and key is not stored: the id of the first is returned.';
comment on function pgsched.emit(idempotency_key text, name text, payload jsonb, key text) is 'Sends an event to the durable task that has this idempotency_key; otherwise as with an id.
idempotency_key: The key of the task.
name: What the task waits for, or will wait for.
payload: What the wait returns: any JSON value.
key: A second event of the same name and key is not stored: the id of the first is returned.';
comment on function pgsched.restart is 'Runs a durable task afresh, or from one of its steps on: what was recorded before is kept, what came later is forgotten. Children that it waits for are cancelled as by a cancel; events that were consumed stay consumed.
id: The task; it must not run.
from_step: The name of the step that runs again; null: all do.
from_key: The key of that step.';
comment on function pgsched.resume_run is
  'For the schema: makes a blocked run due if it waits for one of these; its task is locked by the caller.';
comment on function pgsched.deliver_event is
  'For the schema: wakes the task that an event was sent to, if it waits for it.';
comment on function pgsched.wake_parent is
  'For the schema: wakes a durable run if it waits for this child, which has ended.';
comment on function pgsched.wake_parents is
  'For workers: wakes the durable runs that wait for these tasks, which have ended; returns how many.';
comment on function pgsched.children_of is
  'For the schema: the children that are cancelled with a task: steps of a group, children of a durable run.';
comment on function pgsched.lock_below is
  'For the schema: locks the children that are cancelled with a task, and theirs.';
comment on function pgsched.recheck_runs is
  'For workers: wakes those of these runs, suspended in this transaction, for which something has come meanwhile.';
comment on function pgsched.wake_suspended is 'For workers: makes those suspended runs due of which a wait has timed out, or a sleep is over; returns how many.
most: At most so many.';
comment on function pgsched.start_child is
  'For workers: makes the child that a durable run waits for, and records it; null when the claim was lost.';
comment on function pgsched.move_steps is
  'For workers: gives the dead letter of a tick what the run of that tick has recorded; returns its id.';
comment on function pgsched.queues_in_use is 'The queues that have a task which waits or runs and is not paused.';
comment on function pgsched.pause_queue is
  'Lets workers claim nothing more from a queue; what runs goes on. True if the queue was not paused.';
comment on function pgsched.resume_queue is
  'Lets workers claim from a paused queue again. True if the queue was paused.';
comment on function pgsched.set_queue_events is
  'Lets other programs be told, on the channel pgsched_events, what happens to the tasks of a queue, or no '
  'longer.';
comment on function pgsched.limit_queue is 'Limits a queue over all workers, instead of the limits it had: so many running at once, so many starts in a time; of the whole queue, of each concurrency_key.
name: The queue.
concurrency: So many of its tasks run at once.
concurrency_per_key: So many with the same concurrency_key run at once.
rate: So many start within per.
rate_per_key: So many with the same concurrency_key start within per.
per: The time of a rate, from 100 milliseconds to 31 days.';
comment on function pgsched.unlimit_queue is 'Takes the limits of a queue away. True if it had some.
name: The queue.';
comment on function pgsched.limits_problem is 'The rule that the limits of a queue break, or null.
limits: An object with concurrency, concurrency_per_key, rate, rate_per_key and per.';
comment on function pgsched.check_limits is 'For the schema: refuses limits of a queue that make no sense.';
comment on function pgsched.announce_queue is
  'For the schema: tells every worker that the way to claim from a queue may have changed.';
comment on function pgsched.unpause_queue is 'For the schema: wakes the workers of a queue that is resumed.';
comment on function pgsched.note_resumed is 'For the schema: notes when a queue is no longer paused.';
comment on function pgsched.note_paused is 'For the schema: notes when a queue is paused, and by whom.';
comment on function pgsched.is_claimable is
  'For workers: whether a task may be claimed now, if a worker has a handler for it: it is due and enabled, and '
  'nobody has a lease on it.';
comment on function pgsched.lock_was_lost is
  'For workers: whether the transaction that locked a row (its xmax) ended without being committed.';
comment on function pgsched.claim_limited is
  'For workers: claims from several queues with limits or ageing, in their order, but for some tasks that it '
  'passes over.';
comment on function pgsched.claim_queue is
  'For workers: claims due rows of one queue with limits or ageing, as many as these allow; the last row says '
  'when to ask again.';
comment on function pgsched.cost_of is 'For claims: for how many starts a task of a type counts in a queue with a rate, by its handler, else by the queue.
task_type: The type.
queue: The queue.';
comment on function pgsched.pick_keyed is
  'For workers: chooses due rows of a queue with limits per key; the keys take turns.';
comment on function pgsched.due_by_keys is
  'For workers: the due rows of some keys of a queue, of each as many as it has room for.';
comment on function pgsched.next_keys is 'For workers: the keys of a queue that come after one, due or not.';
comment on function pgsched.key_rooms is 'For workers: how many rows of each key may start now.';
comment on function pgsched.adopt_slots is
  'For workers: counts what runs of a queue already, from before it had limits.';
comment on function pgsched.note_late_start is
  'For workers: starts that were counted at the claim happened later, so they count for longer.';
comment on function pgsched.try_claims is
  'For workers: which of these tasks can be claimed, and what the database says to the others.';
comment on function pgsched.bury_unclaimed is
  'For workers: ends due tasks that the database lets nobody claim as dead, where that can be written.';
comment on function pgsched.expire_tasks is
  'For workers: cancels tasks that have not started by their expires_at, those that expired first; returns how '
  'many.';
comment on function pgsched.leave is
  'For workers: deletes those of these tasks that are completed and leave with it, writes their history, and '
  'returns their ids.';
comment on function pgsched.remember is
  'For workers: what the history keeps of a task that leaves, beside defaults and its own columns.';
comment on function pgsched.retention_rules is
  'How long finished and dead tasks of each queue that has some are kept, and how many.';
comment on function pgsched.pick_prunable is
  'For workers: locks the next finished tasks of a queue that nobody needs any more. Returns how many it looked '
  'at (null while somebody else prunes), where it stopped, and their ids.';
comment on function pgsched.prune_finished is
  'For workers: deletes the tasks of these that are completed, cancelled or dead, to the archive if that is said.'
  ' Returns how many of each, how many something else keeps, and what.';
comment on function pgsched.delete_apart is
  'For the schema: deletes tasks that have one of these statuses; what a foreign key or a trigger of others keeps'
  ' stays, with the reason.';
comment on function pgsched.history_days is
  'The partitions of the history whose time was over by then, the oldest first.';
comment on function pgsched.make_partitions is 'Makes the daily partitions of the history ahead of time; returns how many were made. Workers call it by themselves.
days_ahead: From today, in UTC, so many days on.';
comment on function pgsched.drop_history is
  'For workers: drops a partition of the history whose time was over by then. False: somebody works with the '
  'history, try again.';
comment on function pgsched.hold_history is
  'For operators: lets nothing more into a partition of the history that was over by then, until the transaction '
  'ends.';
comment on function pgsched.prune_history is
  'For workers: deletes rows of the history from before then that are in no partition of a day, up to so many of '
  'each kind.';
comment on function pgsched.ask_worker is
  'For the schema: asks a worker to pause or drain; null: to work. True if that was not asked already, null if no'
  ' such worker is registered.';
comment on function pgsched.pause_worker is 'Asks a worker to claim nothing more until it is resumed; what it has is run. True if that was not asked already, null if no such worker is registered.
worker: Its id in pgsched.workers.
requested_by: Who asks, for people; the database role when left out.';
comment on function pgsched.drain_worker is 'Asks a worker to claim nothing more, finish what it has, and exit with code 0. True if that was not asked already, null if no such worker is registered.
worker: Its id in pgsched.workers.
requested_by: Who asks, for people; the database role when left out.';
comment on function pgsched.resume_worker is 'Lets a worker that was paused, or drains and has not ended, claim again. True if it was, null if no such worker is registered.
worker: Its id in pgsched.workers.
requested_by: Who asks, for people.';
comment on function pgsched.note_worker is 'For the schema: keeps where a worker runs beyond its end.';
comment on function pgsched.type_stats is 'What ended of each type: throughput, share of failures, quantiles of run and wait in seconds (at most 9 % off). Read from counts that upkeep keeps; nothing is counted now.
within: How long back, at least 5 minutes; the last bucket is the one under way.
ago: The same time so long before: ''1 day'' is yesterday.
task_type: Only this type.
queue: Only of this queue.';
comment on function pgsched.type_history is 'What ended of a type, bucket by bucket, those in which nothing did, too.
task_type: The type; null: all of them.
within: How long back.
ago: The same time so long before.
queue: Only of this queue.';
comment on function pgsched.type_histogram is 'How long attempts at a type ran and waited: how many in each of the bins that are not empty; bounds are seconds.
task_type: The type; null: all of them.
within: How long back.
ago: The same time so long before.
queue: Only of this queue.';
comment on function pgsched.error_stats is 'With which errors attempts failed, grouped: how often, since when, of which types, queues and versions, and a task of each. Read from counts that upkeep keeps.
within: How long back.
ago: The same time so long before.
task_type: Only of this type.
queue: Only of this queue.
fingerprint: Only this group.';
comment on function pgsched.counted_window is 'For the schema: the buckets of a time that ends now or earlier.';
comment on function pgsched.bin_quantile is 'A quantile of a histogram in seconds; at most 9 % higher or lower than that of the durations it was made of. Null: it is empty.
bins: The bins, each once.
counts: How many are in each.
share: Between 0 and 1.
longest: The longest of them, which no quantile is beyond.';
comment on function pgsched.bin_seconds is
  'The upper bound of a bin in seconds: four bins for each doubling, from 1 microsecond (0) to 70 days (170), '
  'which has all longer ones, too.';
comment on function pgsched.duration_bin is
  'The bin of a duration in the histograms of pgsched.type_counts: bin n is longer than pgsched.bin_seconds(n - '
  '1), and no longer than pgsched.bin_seconds(n).';
comment on function pgsched.take_roll_up_turn is
  'For workers: whether it is this worker''s turn to count the history, or still is. No other has it for a while.';
comment on function pgsched.roll_up is
  'For workers: one step of counting the history. Stage null: there is nothing to do now, or somebody else does '
  'it.';
comment on function pgsched.count_history is
  'For the schema: counts the attempts that ended within whole buckets of 5 minutes into pgsched.type_counts.';
comment on function pgsched.sum_type_counts is 'For the schema: makes longer buckets of shorter ones.';
comment on function pgsched.note_errors is
  'For workers: writes the errors of buckets that pgsched.roll_up has counted, instead of those that were there.';
comment on function pgsched.prune_roll_ups is
  'For workers: deletes counts of the history that are older than they are kept; returns how many.';
comment on function pgsched.note_version is
  'For the schema: keeps when a version of a handler''s code became the newest.';
comment on function pgsched.lock is 'Takes a lock for an owner and returns its fencing token, or null while another owner has it. Renew it before ttl is over; call it outside a longer transaction.
name: What is locked: 1 to 200 characters.
owner: An id made up for this one acquisition; the same call again returns the same token.
ttl: How long it is good for without a renewal, from 1 second to 1 day.
holder: Who has it, for people.';
comment on function pgsched.renew_lock is 'Keeps a lock for ttl from now on. False: it was lost, because its time was over or somebody broke it.
name: What is locked.
owner: The id that it was taken with.
ttl: How long it is good for from now on, from 1 second to 1 day.';
comment on function pgsched.unlock is 'Gives a lock back. False: the owner did not have it any more.
name: What is locked.
owner: The id that it was taken with.';
comment on function pgsched.refuse_lock is 'For the schema: refuses arguments of a lock that make no sense.';
comment on function pgsched.database_state is
  'Whether the tasks belong to this database. state is original, copy (they belong to another database), held '
  '(workers are held back) or unnoted. problem says why workers do not start, in a sentence; null if they do.';
comment on function pgsched.adopt_database is 'Lets the tasks belong to this database: workers start and run them here, even if the original runs them too. Also ends a hold. Returns whether that changed anything.
adopted_by: Who says so, for people. Default: the role.';
comment on function pgsched.hold_database is 'Keeps workers from starting in this database until somebody adopts it: for a copy of a whole server, which cannot be told from the original. Workers that already run continue. Returns whether that changed anything.
held_by: Who says so, for people. Default: the role.';
comment on function pgsched.note_database is
  'For pgsched migrate: notes that the tasks belong to this database, unless a database has been noted. Returns '
  'whether it was.';
comment on function pgsched.refuse_copy is 'For workers: fails unless the tasks belong to this database.';
comment on function pgsched.system_identifier is
  'The system identifier of this server; null if the role may not call pg_control_system().';
comment on function pgsched.revoke_session is
  'For the web face: ends a session in all its processes, and forgets those that have ended by themselves.';
comment on function pgsched.protocol_version is
  'The version of the worker protocol that this schema speaks. It grows when a client has to be changed.';
comment on function pgsched.register_worker is 'Puts a worker on the list, and its types into the register. Call it again when beat says that the worker is not known. Returns the version of the protocol.
worker: An id that the process makes up at each start.
queues: The queues that it serves.
task_types: The types that it has handlers for.
concurrency: How many tasks it runs at once.
lease: How long its claims are good for without a beat.
client: Language and version of its client, for people.
code_version: The version of the application.
hostname: Where it runs.
pid: Its process there.
protocol: The version of the protocol that the client was written for.';
comment on function pgsched.unregister_worker is 'Takes a worker off the list. What it still has must be released before. False: it was not on the list.
worker: Its id.';
comment on function pgsched.claim is 'Leases due tasks to a worker, in the order in which they are to start. Attempts are counted; attempts that were lost are written to the history; tasks that expired or used up their attempts end; missed ticks, limits and pauses are respected; groups are fired and joined.
worker: Its id.
queues: Where to look, in this order.
task_types: The types that it runs; others are left alone.
max_tasks: How many at most, 1 to 1000: as many as can begin at once.
lease: For how long, without a beat: 1 second to 1 day.
passed_over: Tasks that are left out, as those that pgsched.look_at_refused returns.';
comment on function pgsched.look_at_refused is 'To be called when the database has refused a claim: tries the claim of each task by itself, and ends as dead those that cannot be claimed. Returns them, and whether each is dead; those that are not are to be passed over for a while.
worker: Its id.
queues: As for the claim.
task_types: As for the claim.
max_tasks: As for the claim.
passed_over: As for the claim.';
comment on function pgsched.finish is 'Writes what became of claimed tasks, in one transaction: history, retries by the backoff of the task, dead letters, the next tick of a schedule, tasks that wait for these. Returns how many were written (those that an earlier call has written, too), and the ids that are no longer the worker''s (fenced: nothing is written) or locked by another session (locked: send them again).
worker: Its id.
outcomes: 1 to 2000 objects with id, fencing_token, outcome (completed, failed, timed_out, discarded: no further attempt, snoozed: not counted, or ended: the schedule is over) and where they apply result, error, seconds (how long the handler ran) and retry_in (seconds until the next attempt).';
comment on function pgsched.beat is 'Says that a worker lives, and renews its leases. Call it every third of a lease. Returns whether the worker is on the list (if not, register it again), what it was asked to do (pause, drain or null), how many leases were renewed, and the ids of tasks that were cancelled, or are another''s: stop their handlers, what they return is not written.
worker: Its id.
ids: The tasks that it has.
fencing_tokens: The tokens of their claims, in the same order.
running: How many of its slots are occupied.
lease: For how long, from now on.
state: active, paused or draining.';
comment on function pgsched.release is 'Gives claimed tasks back that were not begun, or that a stopping worker interrupted, with the attempt that the claim counted. Returns how many; those that are another''s, or locked by another session, are left as they are.
worker: Its id.
ids: The tasks.
fencing_tokens: The tokens of their claims, in the same order.';
comment on function pgsched.sleep is 'Says that a worker sleeps, so that an insert into one of its queues that is due before notifies the channel pgsched. Claim once more right after it: what was inserted while the worker fell asleep notified nobody. Returns the seconds until the next task is due; null when the worker is not on the list. A claim that takes something ends the sleep.
worker: Its id.
longest: At most for so long, up to a minute.';
comment on function pgsched.report_progress is 'Shows people how far a running task is. False: it is no longer the worker''s.
worker: Its id.
id: The task.
fencing_token: The token of its claim.
progress: Any JSON value.';
comment on function pgsched.upkeep is
  'What must be done where no Python worker runs, once a minute: makes partitions of the history, cancels tasks '
  'that expired unclaimed, takes workers off the list that died. Returns how many tasks expired.';
comment on function pgsched.check_worker_call is 'For workers: refuses what a worker must not ask for.';
comment on function pgsched.claim_details is
  'For workers: what a claimed task says beside its payload; null when that is nothing.';
comment on function pgsched.judge_claimed is
  'For workers: decides what becomes of claimed tasks that a handler may not simply run: schedules, groups, tasks'
  ' that expired or used up their attempts. Returns the ids of those to run.';
comment on function pgsched.write_outcomes is
  'For workers: what pgsched.finish and pgsched.claim write of tasks that are not simply completed. Returns the '
  'ids that passed the fence.';
comment on function pgsched.retry_delay is
  'For workers: the seconds until the next attempt after one that failed. chance is a random number from 0 to 1, '
  'which spreads the retries of tasks that failed together.';
comment on function pgsched.admit_tick is
  'For workers: what on_missed decides of a due tick that makes its first attempt: the tick to run, or the one to'
  ' book instead, and how many were dropped.';
comment on function pgsched.latest_tick is
  'For workers: the last tick of a schedule that is due at an instant; the one that it is booked for when none '
  'came after.';
comment on function pgsched.tick_after is
  'For workers: the first tick of a schedule strictly after an instant; null when there is none.';
comment on function pgsched.count_ticks is
  'For workers: the number of ticks between two, both included; 1000 means at least 1000.';
comment on function pgsched.claim_apart is
  'For workers: claims from several queues with limits or ageing, in their order.';
comment on function pgsched.claim_from is
  'For workers: claims due rows of one queue with limits or ageing, as many as these allow; the last row says '
  'when to ask again.';
comment on function pgsched.pick_by_turns is
  'For workers: chooses due rows of a queue with limits per key; the keys take turns.';
comment on function pgsched.due_of_keys is
  'For workers: the due rows of some keys of a queue, of each as many as it has room for.';
comment on function pgsched.delete_finished is
  'For workers: deletes the tasks of these that are completed, cancelled or dead, to the archive if that is said.'
  ' Returns how many of each.';
comment on trigger note_paused on pgsched.queues is 'Notes when a queue is paused, and by whom.';
comment on trigger note_worker on pgsched.workers is 'Keeps where a worker runs beyond its end.';
