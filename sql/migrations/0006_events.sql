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

create or replace function pgsched.cancel(id bigint) returns void
language plpgsql as $$
declare
  task pgsched.tasks;
  children bigint[];
  child bigint;
begin
  -- A group's unfinished children first, and all of them locked before the group, as their finishes do it.
  select t.fired into children from pgsched.tasks t
  where t.id = cancel.id and t.status in ('pending', 'blocked', 'running');
  if children is not null then
    perform from pgsched.tasks t where t.id = any(children) order by t.id for no key update;
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
    fencing_token = t.fencing_token + 1, waiting_for = 0, updated_at = now()
  where t.id = task.id;
  delete from pgsched.dependencies d where d.task_id = task.id;
  if task.status = 'running' then
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, error)
    values (
      task.id, task.task_type, task.queue, task.attempts, task.fencing_token, task.scheduled_for, task.locked_by,
      'cancelled', task.started_at, now(), extract(epoch from now() - task.started_at) * 1000, 'cancelled while running');
    perform pg_notify('pgsched_cancel', task.id::text);
  end if;
  perform pgsched.tell_cancelled(task);
  if task.observed then
    perform pgsched.settle(array[task.id]);
  end if;
end $$;
