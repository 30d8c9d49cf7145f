-- Sets the privileges of each role exactly: whatever else it was granted is revoked. This list covers every version of
-- the schema up to this program's, so it runs after each migration of a database that has the roles.
do $$
declare
  public_columns constant text := 'task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id,
    created_by, schedule_type, scheduled_for, cron_expression, timezone, start_date, end_date, repeat_interval,
    repeat_count, on_missed, catchup_window, overlap, jitter, enabled, max_attempts, backoff, backoff_delay,
    backoff_max, timeout, idempotency_key, parent_id, depends_on, dependency_mode, on_dependency_dead, concurrency_key,
    backoff_factor, backoff_jitter, alert_if_no_success_for, alert_if_running_for, expires_at';
begin
  revoke all on schema pgsched from pgsched_worker, pgsched_producer, pgsched_viewer, pgsched_operator;
  revoke all on all tables in schema pgsched from pgsched_worker, pgsched_producer, pgsched_viewer, pgsched_operator;
  revoke all on all sequences in schema pgsched from pgsched_worker, pgsched_producer, pgsched_viewer, pgsched_operator;
  revoke all on all functions in schema pgsched from pgsched_worker, pgsched_producer, pgsched_viewer, pgsched_operator;

  grant usage on schema pgsched to pgsched_worker, pgsched_producer, pgsched_viewer, pgsched_operator;
  grant select on pgsched.migrations, pgsched.timezones, pgsched.calendars, pgsched.handlers,
    pgsched.task_defaults, pgsched.shards, pgsched.placements
    to pgsched_worker, pgsched_producer, pgsched_viewer, pgsched_operator;
  grant select on pgsched.database_identity to pgsched_worker, pgsched_viewer, pgsched_operator;
  grant execute on function pgsched.system_identifier, pgsched.database_state
    to pgsched_worker, pgsched_viewer, pgsched_operator;
  grant execute on function
    pgsched.schedule, pgsched.schedule_by_key, pgsched.schedule_unique, pgsched.unique_key, pgsched.upsert,
    pgsched.backfill, pgsched.skip_next, pgsched.run_now, pgsched.enable, pgsched.disable, pgsched.cancel,
    pgsched.retry, pgsched.replan, pgsched.add_steps, pgsched.restart,
    pgsched.emit(bigint, text, jsonb, text), pgsched.emit(text, text, jsonb, text)
    to pgsched_producer, pgsched_worker, pgsched_operator;
  grant execute on function pgsched.lock, pgsched.renew_lock, pgsched.unlock to pgsched_worker, pgsched_operator;

  -- Producers. The id is for INSERT … RETURNING id; an INSERT reads the columns of workers to see whether one sleeps.
  execute format('grant insert (%s) on pgsched.tasks to pgsched_producer', public_columns);
  grant select (id) on pgsched.tasks to pgsched_producer;
  grant select (queues, patterns, sleeping_until) on pgsched.workers to pgsched_producer;
  grant select (unknown_types) on pgsched.settings to pgsched_producer;

  -- Workers. Privileges on whole tables: those on columns would be checked one by one, at every claim.
  grant select, insert, update on pgsched.tasks to pgsched_worker;
  grant select, insert on pgsched.executions, pgsched.execution_logs, pgsched.missed_ticks to pgsched_worker;
  grant select, insert, delete on pgsched.dependencies to pgsched_worker;
  grant select, insert, update, delete
    on pgsched.workers, pgsched.slots, pgsched.starts, pgsched.turns, pgsched.set_aside to pgsched_worker;
  grant select, insert, update, delete on pgsched.durable_runs, pgsched.durable_steps, pgsched.durable_events
    to pgsched_worker;
  grant select, insert, update on pgsched.watchdog to pgsched_worker;
  grant select, insert, delete on pgsched.backlogs to pgsched_worker;
  grant select, update (updated_at) on pgsched.queues to pgsched_worker;  -- locking a row needs UPDATE on one column
  grant usage on sequence pgsched.tasks_id_seq, pgsched.fencing_tokens to pgsched_worker;
  grant execute on function
    pgsched.settle, pgsched.settle_ended, pgsched.has_left, pgsched.follow, pgsched.make_steps, pgsched.add_steps_by,
    pgsched.fire_group,
    pgsched.join_group,
    pgsched.claim_apart, pgsched.claim_from,
    pgsched.claim_limited, pgsched.claim_queue, pgsched.pick_keyed, pgsched.due_by_keys, pgsched.try_claims,
    pgsched.bury_unclaimed, pgsched.adopt_slots, pgsched.pick_by_turns, pgsched.due_of_keys, pgsched.key_rooms,
    pgsched.next_keys, pgsched.note_late_start, pgsched.make_partitions, pgsched.rebook, pgsched.read_zone,
    pgsched.follow_zones, pgsched.leave, pgsched.expire_tasks, pgsched.wake_parents, pgsched.wake_parent,
    pgsched.recheck_runs,
    pgsched.resume_run, pgsched.wake_suspended, pgsched.start_child, pgsched.move_steps
    to pgsched_worker;
  grant execute on function
    pgsched.refuse_copy, pgsched.register_worker, pgsched.check_worker_call, pgsched.unregister_worker, pgsched.claim,
    pgsched.look_at_refused, pgsched.claim_details, pgsched.judge_claimed, pgsched.write_outcomes, pgsched.finish,
    pgsched.beat, pgsched.release, pgsched.sleep, pgsched.report_progress, pgsched.upkeep, pgsched.retry_delay,
    pgsched.admit_tick, pgsched.latest_tick, pgsched.tick_after, pgsched.count_ticks
    to pgsched_worker;
  grant execute on function pgsched.register, pgsched.lock_steps, pgsched.note_misfit
    to pgsched_worker, pgsched_operator;
  grant execute on function
    pgsched.take_roll_up_turn, pgsched.roll_up, pgsched.note_errors, pgsched.prune_roll_ups
    to pgsched_worker;
  grant select on pgsched.settings, pgsched.worker_hosts to pgsched_worker;
  grant execute on function
    pgsched.retention_rules, pgsched.pick_prunable, pgsched.delete_finished, pgsched.history_days, pgsched.drop_history,
    pgsched.prune_finished, pgsched.prune_history
    to pgsched_worker, pgsched_operator;
  grant execute on function pgsched.hold_history to pgsched_operator;

  -- Viewers and operators.
  grant select on pgsched.type_counts, pgsched.error_groups, pgsched.error_counts, pgsched.roll_up_state,
    pgsched.handler_versions
    to pgsched_worker, pgsched_viewer, pgsched_operator;
  grant execute on function
    pgsched.counted_window, pgsched.type_stats, pgsched.type_history, pgsched.type_histogram, pgsched.error_stats
    to pgsched_worker, pgsched_viewer, pgsched_operator;
  grant execute on function pgsched.about_rows to pgsched_worker, pgsched_viewer, pgsched_operator;
  grant select on pgsched.tasks, pgsched.executions, pgsched.execution_logs, pgsched.missed_ticks, pgsched.dependencies,
    pgsched.workers, pgsched.queues, pgsched.settings, pgsched.archived_tasks, pgsched.locks, pgsched.watchdog,
    pgsched.set_aside, pgsched.zone_rules, pgsched.worker_hosts, pgsched.durable_runs, pgsched.durable_steps,
    pgsched.durable_events, pgsched.revoked_sessions, pgsched.saved_views, pgsched.bulk_changes,
    pgsched.backlogs, pgsched.slots, pgsched.starts, pgsched.departing_tasks, pgsched.arrived_tasks
    to pgsched_viewer, pgsched_operator;
  grant execute on function pgsched.revoke_session to pgsched_viewer, pgsched_operator;
  execute format('grant insert (%1$s, declared), update (%1$s, declared, planned_from) on pgsched.tasks'
    ' to pgsched_operator', public_columns);
  grant delete on pgsched.tasks, pgsched.archived_tasks, pgsched.locks, pgsched.calendars to pgsched_operator;
  grant insert, update on pgsched.queues, pgsched.settings, pgsched.calendars to pgsched_operator;
  grant select, insert on pgsched.audit_log to pgsched_operator;
  grant insert, update, delete on pgsched.saved_views to pgsched_operator;
  grant insert, update on pgsched.bulk_changes to pgsched_operator;
  grant execute on function pgsched.change_tasks, pgsched.cancel_waiting, pgsched.torn_groups, pgsched.retry_locked,
    pgsched.edit_payloads, pgsched.delete_apart, pgsched.limit_queue,
    pgsched.unlimit_queue, pgsched.set_defaults, pgsched.pause_queue, pgsched.resume_queue, pgsched.set_queue_events,
    pgsched.ask_worker, pgsched.pause_worker, pgsched.drain_worker, pgsched.resume_worker
    to pgsched_operator;
  grant update (request, requested_by, requested_at) on pgsched.workers to pgsched_operator;
  grant insert, update, delete on pgsched.task_defaults to pgsched_operator;
  grant insert, update on pgsched.database_identity to pgsched_operator;
  grant execute on function pgsched.note_database, pgsched.adopt_database, pgsched.hold_database to pgsched_operator;
end $$
