-- Works with programs of version 12 of the schema and later.
-- What every table, column, function, rule and index of the schema is for: `\d+` and `\df+` of psql show it, and the SQL
-- reference is written from it. Of a function the first line says what it does; each further line is about one argument.
-- `For workers:` and `For the schema:` begin the comments of functions that are not for people.

-- Tables.

comment on table pgsched.executions is 'One row per attempt; partitioned by day of started_at, in UTC.';
comment on column pgsched.executions.task_id is 'The task; it may be deleted by now.';
comment on column pgsched.executions.task_type is 'Its handler.';
comment on column pgsched.executions.queue is 'Its queue.';
comment on column pgsched.executions.attempt is 'Which attempt at the tick it was, from 1.';
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

comment on table pgsched.execution_logs is 'Lines that handlers logged; partitioned by day of logged_at, in UTC.';
comment on column pgsched.execution_logs.task_id is 'The task.';
comment on column pgsched.execution_logs.fencing_token is 'The token of the claim: with task_id it names the attempt.';
comment on column pgsched.execution_logs.attempt is 'Which attempt at the tick it was, from 1.';
comment on column pgsched.execution_logs.logged_at is 'When.';
comment on column pgsched.execution_logs.level is
  'debug, info, warning, error, critical, or any word that the handler gave.';
comment on column pgsched.execution_logs.message is 'The line, cut at 8,192 characters.';
comment on column pgsched.execution_logs.fields is 'What was given with it, as a JSON object.';

comment on table pgsched.missed_ticks is
  'Ticks that were not run, and why: one row for ticks in a row; partitioned by day of noted_at, in UTC.';

comment on table pgsched.workers is
  'One row per worker process that is alive, or was a moment ago; unlogged: what a crash empties, the next heartbeat writes again.';
comment on column pgsched.workers.id is 'Of this start of the process: made up anew by each.';
comment on column pgsched.workers.hostname is 'The machine.';
comment on column pgsched.workers.pid is 'The process on it.';
comment on column pgsched.workers.queues is 'The queues that it serves by name.';
comment on column pgsched.workers.task_types is 'The types that it has handlers for.';
comment on column pgsched.workers.declared_keys is 'The idempotency keys of the schedules that its code declares.';
comment on column pgsched.workers.concurrency is 'So many tasks run in it at once.';
comment on column pgsched.workers.running is 'So many run in it, as of the last heartbeat.';
comment on column pgsched.workers.started_at is 'When it started.';
comment on column pgsched.workers.heartbeat_at is 'When it was last heard of.';
comment on column pgsched.workers.lease is 'How long its claims are good for without a heartbeat.';
comment on column pgsched.workers.sleeping_until is
  'Until when it sleeps: an insert that is due before notifies it. Null: it is awake.';

comment on table pgsched.queues is 'Settings of queues; a queue without a row has the defaults.';
comment on column pgsched.queues.updated_at is 'When a setting last changed.';

comment on table pgsched.dependencies is 'Who still waits for whom; a row goes when it is settled.';

comment on table pgsched.locks is 'Locks by name: one row for each that is held, or that was not given back in time.';

comment on column pgsched.slots.queue is 'The queue.';
comment on column pgsched.slots.key is 'The concurrency_key of the task; empty: it has none.';
comment on column pgsched.slots.task_id is 'The task.';
comment on column pgsched.slots.fencing_token is
  'The token of the claim: the slot is good while the task runs under it.';

comment on column pgsched.starts.queue is 'The queue.';
comment on column pgsched.starts.key is 'The concurrency_key; empty: the queue as a whole.';
comment on column pgsched.starts.since is 'The step of time that is counted in one row.';
comment on column pgsched.starts.at is 'When the last of them started.';
comment on column pgsched.starts.number is 'How many started in this step.';

comment on table pgsched.turns is
  'Which key of a queue with limits per key was served last; unlogged: after a crash the first key comes first again.';
comment on column pgsched.turns.queue is 'The queue.';
comment on column pgsched.turns.key is 'The key that was served last.';
comment on column pgsched.turns.roamed_priority is
  'Behind many rows with keys: at which priority the search for rows without one goes on.';
comment on column pgsched.turns.roamed_at is 'At which next_run_at it goes on.';
comment on column pgsched.turns.roamed_id is 'At which id it goes on.';

comment on column pgsched.audit_log.id is 'Given by the database, in the order of the changes.';

comment on table pgsched.timezones is 'The IANA time zones that the server knew when the schema was made.';
comment on column pgsched.timezones.name is 'As Europe/Berlin.';

comment on table pgsched.migrations is 'The version of the schema: one row per migration that was applied.';
comment on column pgsched.migrations.version is 'Its number; the highest is the version of the schema.';
comment on column pgsched.migrations.name is 'What it is about.';
comment on column pgsched.migrations.applied_at is 'When.';

-- Functions for programs and people.

comment on function pgsched.schedule is
  e'Inserts a task and returns its id; on a known idempotency_key it returns the id of the task that has it. Null stands for the default of the column.\n'
  'run_at: Once, at this time; excludes delay and every kind of schedule.\n'
  'delay: Once, so long from now; excludes run_at and every kind of schedule.';
comment on function pgsched.run_now is
  e'Makes a waiting one-time task due now; for any other runs a copy (a child with parent_id) and leaves the task as it is. Returns the id that runs.\n'
  'id: The task.';
comment on function pgsched.enable is
  e'Lets a paused task run again; ticks that passed meanwhile follow on_missed. True if it was paused.\n'
  'id: The task.';
comment on function pgsched.disable is
  e'Pauses a task: it keeps its place and is not claimed. True if it was not paused before.\n'
  'id: The task.';
comment on function pgsched.cancel is
  e'Stops a task for good: at once while it waits; while it runs its worker is told, and what it still writes is refused.\n'
  'id: The task.';
comment on function pgsched.retry is
  e'Gives a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now.\n'
  'id: The task.';
comment on function pgsched.cron_problem is
  e'The rule that a cron expression breaks, or null when it can be read.\n'
  'expression: Five fields, or six with seconds first, or @daily and the like.';
comment on function pgsched.group_problem is
  e'The rule that the payload of a group breaks, or null.\n'
  'payload: An object with steps, as pgsched.flow makes it.';
comment on function pgsched.limits_problem is
  e'The rule that the limits of a queue break, or null.\n'
  'limits: An object with concurrency, concurrency_per_key, rate, rate_per_key and per.';
comment on function pgsched.limit_queue is
  e'Limits a queue over all workers, instead of the limits it had: so many running at once, so many starts in a time; of the whole queue, of each concurrency_key.\n'
  'name: The queue.\n'
  'concurrency: So many of its tasks run at once.\n'
  'concurrency_per_key: So many with the same concurrency_key run at once.\n'
  'rate: So many start within per.\n'
  'rate_per_key: So many with the same concurrency_key start within per.\n'
  'per: The time of a rate, from 100 milliseconds to 31 days.';
comment on function pgsched.unlimit_queue is
  e'Takes the limits of a queue away. True if it had some.\n'
  'name: The queue.';
comment on function pgsched.lock is
  e'Takes a lock for an owner and returns its fencing token, or null while another owner has it. Renew it before ttl is over; call it outside a longer transaction.\n'
  'name: What is locked: 1 to 200 characters.\n'
  'owner: An id made up for this one acquisition; the same call again returns the same token.\n'
  'ttl: How long it is good for without a renewal, from 1 second to 1 day.\n'
  'holder: Who has it, for people.';
comment on function pgsched.renew_lock is
  e'Keeps a lock for ttl from now on. False: it was lost, because its time was over or somebody broke it.\n'
  'name: What is locked.\n'
  'owner: The id that it was taken with.\n'
  'ttl: How long it is good for from now on, from 1 second to 1 day.';
comment on function pgsched.unlock is
  e'Gives a lock back. False: the owner did not have it any more.\n'
  'name: What is locked.\n'
  'owner: The id that it was taken with.';
comment on function pgsched.change_tasks is
  e'Does one thing to each of these tasks that it suits, in one transaction; returns the ids of those that were changed.\n'
  'action: enable, disable, run, cancel, retry or delete.\n'
  'ids: The tasks.\n'
  'dry_run: True: changes nothing and only returns which it would be.';
comment on function pgsched.may_change is
  e'Whether an action suits a task as it is.\n'
  'action: enable, disable, run, cancel, retry or delete.\n'
  'task: The row of the task.';
comment on function pgsched.queues_in_use is 'The queues that have a task which waits or runs and is not paused.';
comment on function pgsched.make_partitions is
  e'Makes the daily partitions of the history ahead of time; returns how many were made. Workers call it by themselves.\n'
  'days_ahead: From today, in UTC, so many days on.';

-- Functions for workers.

comment on function pgsched.settle is
  'For workers: tells the tasks that wait for these that they have ended; returns how many of them go on or are cancelled.';
comment on function pgsched.fire_group is
  'For workers: makes the children of a claimed group. Returns how many; null when the claim was lost.';
comment on function pgsched.join_group is
  'For workers: what came of the children of a claimed group. No row when the claim was lost.';
comment on function pgsched.claim_from is
  'For workers: claims due rows of one queue with limits or ageing, as many as these allow; the last row says when to ask again.';
comment on function pgsched.claim_apart is
  'For workers: claims from several queues with limits or ageing, in their order.';
comment on function pgsched.note_late_start is
  'For workers: starts that were counted at the claim happened later, so they count for longer.';
comment on function pgsched.adopt_slots is
  'For workers: counts what runs of a queue already, from before it had limits.';
comment on function pgsched.pick_by_turns is
  'For workers: chooses due rows of a queue with limits per key; the keys take turns.';
comment on function pgsched.due_of_keys is
  'For workers: the due rows of some keys of a queue, of each as many as it has room for.';
comment on function pgsched.key_rooms is 'For workers: how many rows of each key may start now.';
comment on function pgsched.next_keys is 'For workers: the keys of a queue that come after one, due or not.';

-- Functions of the schema itself.

comment on function pgsched.prepare_task is
  'For the schema: derives what an INSERT left out, refuses what makes no sense, sets the due clock and wakes a worker that sleeps past it.';
comment on function pgsched.replan_task is
  'For the schema: an edited schedule is planned afresh: at once when it waits, after its run when it runs.';
comment on function pgsched.move_due_clock is
  'For the schema: a one-time task whose scheduled_for is edited becomes due then.';
comment on function pgsched.announce_task is 'For the schema: wakes a worker when an UPDATE makes a task due earlier.';
comment on function pgsched.touch_task is 'For the schema: keeps updated_at in step with edits.';
comment on function pgsched.recheck_group is 'For the schema: checks the plan of a group that is edited.';
comment on function pgsched.add_dependencies is 'For the schema: writes down whom a blocked task waits for.';
comment on function pgsched.change_dependencies is
  'For the schema: depends_on of a task that has not begun was edited.';
comment on function pgsched.watch_dependencies is
  'For the schema: at the commit of a task that waits: marks those it waits for, and settles what has ended by then.';
comment on function pgsched.forget_dependencies is
  'For the schema: a deleted task waits for nothing, and who waits for it is told.';
comment on function pgsched.unpause_queue is 'For the schema: wakes the workers of a queue that is resumed.';
comment on function pgsched.check_limits is 'For the schema: refuses limits of a queue that make no sense.';
comment on function pgsched.announce_queue is
  'For the schema: tells every worker that the way to claim from a queue may have changed.';
comment on function pgsched.check_schedule is
  'For the schema: refuses a time zone or a cron expression that cannot be read.';
comment on function pgsched.check_group is 'For the schema: refuses a plan of steps that breaks a rule.';
comment on function pgsched.check_dependencies is
  'For the schema: refuses ids in depends_on that are not there, and circles.';
comment on function pgsched.block_task is 'For the schema: makes a row one that waits for others.';
comment on function pgsched.wake_sleepers is
  'For the schema: notifies the workers of a queue, if one sleeps past a time.';
comment on function pgsched.tell_cancelled is
  'For the schema: sends the event that a task was cancelled, if its queue tells events.';
comment on function pgsched.locked_task is
  'For the schema: a task, locked until the end of the transaction; raises no_data_found.';
comment on function pgsched.refuse_lock is 'For the schema: refuses arguments of a lock that make no sense.';
comment on function pgsched.group_steps is 'For the schema: the steps of a group, one a row.';
comment on function pgsched.group_edges is 'For the schema: which step of a group waits for which.';
comment on function pgsched.declaration is 'For the schema: what code may declare of a schedule, as one value.';
comment on function pgsched.interval_parts is 'For the schema: months, days and seconds of an interval.';
comment on function pgsched.is_forward is 'For the schema: whether no part of an interval is negative.';
comment on function pgsched.cron_number is
  'For the schema: the number that a word of a cron field stands for; null when it stands for none.';

-- Rules about one column.

comment on constraint task_type_must_have_1_to_200_characters on domain pgsched.task_type is '1 to 200 characters.';
comment on constraint task_type_must_not_contain_control_characters on domain pgsched.task_type is
  'No line ends, tabs or other control characters: names are shown in terminals and logs.';
comment on constraint queue_must_have_1_to_100_characters on domain pgsched.queue_name is '1 to 100 characters.';
comment on constraint queue_must_not_contain_control_characters on domain pgsched.queue_name is
  'No line ends, tabs or other control characters: names are shown in terminals and logs.';
comment on constraint priority_must_be_between_1_and_10 on domain pgsched.priority is '1 to 10; 10 runs first.';
comment on constraint payload_must_be_a_json_object on domain pgsched.payload is 'An object: no list, no single value.';
comment on constraint payload_must_not_exceed_1_mib on domain pgsched.payload is
  'At most 1,048,576 bytes as JSON text.';
comment on constraint payload_must_not_be_nested_deeper_than_100_levels on domain pgsched.payload is
  'At most 100 lists and objects inside one another: readers need stack for each.';
comment on constraint payload_must_not_hold_numbers_beyond_1e308 on domain pgsched.payload is
  'No number beyond 1e308 or -1e308: Python and others would read infinity.';
comment on constraint metadata_must_be_a_json_object on domain pgsched.metadata is
  'An object: no list, no single value.';
comment on constraint metadata_must_not_exceed_1_mib on domain pgsched.metadata is
  'At most 1,048,576 bytes as JSON text.';
comment on constraint metadata_must_not_be_nested_deeper_than_100_levels on domain pgsched.metadata is
  'At most 100 lists and objects inside one another: readers need stack for each.';
comment on constraint metadata_must_not_hold_numbers_beyond_1e308 on domain pgsched.metadata is
  'No number beyond 1e308 or -1e308: Python and others would read infinity.';
comment on constraint tags_must_not_contain_null on domain pgsched.tags is 'Every tag is text, none is null.';
comment on constraint tags_must_be_at_most_100 on domain pgsched.tags is '100 tags at most.';
comment on constraint schedule_type_must_be_one_time_recurring_or_repeating on domain pgsched.schedule_type is
  'One of the three kinds of schedule.';
comment on constraint scheduled_for_must_be_between_the_years_1_and_9999 on domain pgsched.scheduled_for is
  'A time that every language can hold; no infinity.';
comment on constraint start_date_must_be_between_the_years_1_and_9999 on domain pgsched.start_date is
  'A time that every language can hold; no infinity.';
comment on constraint end_date_must_be_between_the_years_1_and_9999 on domain pgsched.end_date is
  'A time that every language can hold; no infinity.';
comment on constraint next_run_at_must_be_between_the_years_1_and_9999 on domain pgsched.next_run_at is
  'A time that every language can hold; no infinity.';
comment on constraint repeat_interval_must_be_at_least_1_millisecond on domain pgsched.repeat_interval is
  'A millisecond or longer, and no part of it is negative.';
comment on constraint repeat_interval_must_be_at_most_1000_years on domain pgsched.repeat_interval is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint repeat_count_must_be_at_least_1 on domain pgsched.repeat_count is
  '1 or more; null means for ever.';
comment on constraint execution_count_must_not_be_negative on domain pgsched.execution_count is 'A count.';
comment on constraint on_missed_must_be_once_skip_or_all on domain pgsched.on_missed is 'One of the three policies.';
comment on constraint catchup_window_must_not_be_negative on domain pgsched.catchup_window is
  'No part of it is negative.';
comment on constraint catchup_window_must_be_at_most_1000_years on domain pgsched.catchup_window is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint overlap_must_be_skip_or_allow on domain pgsched.overlap is 'One of the two policies.';
comment on constraint jitter_must_be_between_0_and_1_day on domain pgsched.jitter is 'From nothing to a day.';
comment on constraint status_must_be_a_status_of_a_task on domain pgsched.task_status is
  'pending, running, blocked, completed, dead or cancelled.';
comment on constraint attempts_must_not_be_negative on domain pgsched.attempts is 'A count.';
comment on constraint max_attempts_must_be_between_1_and_1000 on domain pgsched.max_attempts is '1 to 1000.';
comment on constraint backoff_must_be_exponential_linear_or_fixed on domain pgsched.backoff is
  'One of the three policies.';
comment on constraint backoff_delay_must_not_be_negative on domain pgsched.backoff_delay is
  'No part of it is negative.';
comment on constraint backoff_delay_must_be_at_most_1000_years on domain pgsched.backoff_delay is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint backoff_max_must_not_be_negative on domain pgsched.backoff_max is 'No part of it is negative.';
comment on constraint backoff_max_must_be_at_most_1000_years on domain pgsched.backoff_max is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint timeout_must_be_at_least_1_millisecond on domain pgsched.timeout is
  'A millisecond or longer, and no part of it is negative.';
comment on constraint timeout_must_be_at_most_1000_years on domain pgsched.timeout is
  'At most 1000 years: beyond that sums leave the calendar.';
comment on constraint idempotency_key_must_have_1_to_500_characters on domain pgsched.idempotency_key is
  '1 to 500 characters.';
comment on constraint depends_on_must_not_contain_null on domain pgsched.depends_on is 'Ids of tasks, none is null.';
comment on constraint depends_on_must_be_at_most_100000 on domain pgsched.depends_on is '100,000 tasks at most.';
comment on constraint dependency_mode_must_be_all_or_any on domain pgsched.dependency_mode is 'One of the two modes.';
comment on constraint on_dependency_dead_must_be_cancel_run_or_wait on domain pgsched.on_dependency_dead is
  'One of the three policies.';
comment on constraint concurrency_key_must_have_1_to_200_characters on domain pgsched.concurrency_key is
  '1 to 200 characters.';

-- Rules about a row.

comment on constraint due_if_and_only_if_pending_or_running on pgsched.tasks is
  'next_run_at is set while a row waits or runs, and null otherwise.';
comment on constraint leased_if_and_only_if_running on pgsched.tasks is
  'locked_by and locked_until are set while a row runs, and not otherwise.';
comment on constraint died_at_if_and_only_if_dead on pgsched.tasks is 'The dead letters are the rows with a died_at.';
comment on constraint cron_expression_if_and_only_if_recurring on pgsched.tasks is
  'A cron expression and the kind recurring come together.';
comment on constraint repeat_interval_if_and_only_if_repeating on pgsched.tasks is
  'A repeat interval and the kind repeating come together; so no row has an interval and a cron expression.';
comment on constraint repeat_count_needs_a_repeat_interval on pgsched.tasks is 'A count alone makes no schedule.';
comment on constraint end_date_must_not_be_before_start_date on pgsched.tasks is 'They may be equal.';
comment on constraint status_must_be_a_status_of_an_execution on pgsched.executions is
  'completed, failed, timed_out, cancelled or lost.';
comment on constraint reason_must_be_once_skip_all_overlap_or_edit on pgsched.missed_ticks is
  'Why the ticks were not run: a policy of on_missed, or overlap, or edit.';
comment on constraint retention_must_not_be_negative on pgsched.queues is 'No part of it is negative.';
comment on constraint retention_must_be_at_most_1000_years on pgsched.queues is '1000 years stand for ever.';
comment on constraint retention_count_must_not_be_negative on pgsched.queues is 'A count; 2147483647 stands for all.';
comment on constraint dead_retention_must_not_be_negative on pgsched.queues is 'No part of it is negative.';
comment on constraint dead_retention_must_be_at_most_1000_years on pgsched.queues is '1000 years stand for ever.';
comment on constraint dead_retention_count_must_not_be_negative on pgsched.queues is
  'A count; 2147483647 stands for all.';
comment on constraint retention_must_not_be_negative on pgsched.settings is 'No part of it is negative.';
comment on constraint retention_must_be_at_most_1000_years on pgsched.settings is '1000 years stand for ever.';
comment on constraint retention_count_must_not_be_negative on pgsched.settings is 'A count.';
comment on constraint dead_retention_must_not_be_negative on pgsched.settings is 'No part of it is negative.';
comment on constraint dead_retention_must_be_at_most_1000_years on pgsched.settings is '1000 years stand for ever.';
comment on constraint dead_retention_count_must_not_be_negative on pgsched.settings is 'A count.';
comment on constraint history_retention_must_be_between_1_day_and_1000_years on pgsched.settings is
  'The history is dropped by whole days, so a day is the least; no part of it is negative.';
comment on constraint settings_must_have_one_row on pgsched.settings is 'They hold for all queues that say nothing else.';
comment on constraint watchdog_must_have_one_row on pgsched.watchdog is 'The last look takes the place of the one before.';
comment on constraint ordering_must_be_fifo_or_lifo on pgsched.queues is 'One of the two orders.';
comment on constraint ageing_must_be_between_1_second_and_1000_years on pgsched.queues is
  'A second or longer, at most 1000 years, and no part of it is negative.';
comment on constraint ageing_needs_the_ordering_fifo on pgsched.queues is
  'In a lifo queue the rows that wait longest are not looked at.';
comment on constraint lock_name_must_have_1_to_200_characters on pgsched.locks is '1 to 200 characters.';
comment on constraint lock_name_must_not_contain_control_characters on pgsched.locks is
  'No line ends, tabs or other control characters: names are shown in terminals and logs.';
comment on constraint lock_holder_must_have_at_most_500_characters on pgsched.locks is '500 characters at most.';
comment on constraint audit_role_must_be_viewer_or_operator on pgsched.audit_log is 'Which token was used.';
comment on constraint audit_action_must_have_1_to_100_characters on pgsched.audit_log is '1 to 100 characters.';

-- Indexes.

comment on index pgsched.idempotency_key_must_be_unique is
  'No two tasks have the same key; pgsched.schedule returns the first one instead.';
comment on index pgsched.tasks_due is
  'The due clock: everything that may ever be claimed, in the order of claims, and nothing else.';
comment on index pgsched.tasks_keyed is 'The due clock of each concurrency_key, for queues with limits per key.';
comment on index pgsched.tasks_dead is 'The dead letters, by the time of their death.';
comment on index pgsched.tasks_children is 'The children of a task.';
comment on index pgsched.tasks_schedules is 'The schedules, for lists of them.';
comment on index pgsched.tasks_workflows is 'Groups and tasks that wait for others, for lists of them.';
comment on index pgsched.audit_log_by_task is 'The changes of one task.';
comment on index pgsched.dependencies_task is 'What a task waits for.';
comment on index pgsched.execution_logs_task is 'The lines of one task.';
comment on index pgsched.executions_task is 'The attempts at one task.';
comment on index pgsched.executions_not_completed is 'The attempts that did not go well, by time.';
comment on index pgsched.executions_time is 'The attempts by time: a summary of block ranges, not an entry for each.';
comment on index pgsched.missed_ticks_task is 'The missed ticks of one schedule.';
comment on index pgsched.tasks_finished is
  'The tasks of a queue that were completed or cancelled, in the order of their ends: for retention.';
comment on index pgsched.tasks_dead_by_queue is 'The dead tasks of a queue, in the order of their deaths: for retention.';
comment on index pgsched.tasks_dependents is
  'Tasks that depend on others and have not been completed or cancelled: retention keeps what they may still ask for.';
comment on index pgsched.archived_tasks_id is 'Finds an archived task by its id.';
comment on index pgsched.archived_tasks_time is 'Archived tasks by the time of their deletion: a summary of block ranges.';

-- What a task was is described as what it is.
do $$
declare
  one record;
begin
  for one in
    select a.attname, col_description(t.attrelid, t.attnum) as meaning
    from pg_attribute a
    join pg_attribute t on t.attrelid = 'pgsched.tasks'::regclass and t.attname = a.attname
    where a.attrelid = 'pgsched.archived_tasks'::regclass and a.attnum > 0 and not a.attisdropped
  loop
    execute format('comment on column pgsched.archived_tasks.%I is %L', one.attname, one.meaning);
  end loop;
end $$;
