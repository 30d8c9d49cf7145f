-- What happens to tasks, told to other programs as it is committed: NOTIFY on the channel pgsched_events, by the queues that
-- ask for it. Workers send what becomes of an attempt, and cancel() that a task was cancelled.

alter table pgsched.queues add column events boolean not null default false;
comment on column pgsched.queues.events is 'Other programs are told what happens to its tasks, on the channel pgsched_events.';

drop trigger announce on pgsched.queues;
create trigger announce after insert or delete or update of limits, ageing, ordering, events on pgsched.queues
  for each row execute function pgsched.announce_queue();

create function pgsched.tell_cancelled(task pgsched.tasks) returns void
language plpgsql as $$
-- Without payload, and with names of at most 300 letters: far from the 8,000 bytes that NOTIFY carries.
begin
  if exists (select from pgsched.queues q where q.name = task.queue and q.events) then
    perform pg_notify('pgsched_events', json_build_object(
      'event', 'cancelled', 'id', task.id, 'task_type', task.task_type, 'queue', task.queue, 'attempt', task.attempts,
      'at', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'duration', case when task.status = 'running' then extract(epoch from now() - task.started_at) end,
      'error', null)::text);
  end if;
end $$;
