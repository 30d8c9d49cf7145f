-- Works with programs of version 12 of the schema and later.
--
-- What only the other faces could do: pause and resume a queue, ask how a task is, and wait for its end.

create function pgsched.pause_queue(queue text) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  insert into pgsched.queues as q (name, paused) values (queue, true)
  on conflict (name) do update set paused = true, updated_at = now() where not q.paused;
  return found;
end $$;
comment on function pgsched.pause_queue is
  'Lets workers claim nothing more from a queue; what runs goes on. True if the queue was not paused.';

create function pgsched.resume_queue(queue text) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  update pgsched.queues q set paused = false, updated_at = now() where q.name = queue and q.paused;
  return found;
end $$;
comment on function pgsched.resume_queue is
  'Lets workers claim from a paused queue again. True if the queue was paused.';

create function pgsched.set_queue_events(queue text, events boolean) returns void
language sql as $$
  insert into pgsched.queues as q (name, events) values (queue, events)
  on conflict (name) do update set events = excluded.events, updated_at = now()
$$;
comment on function pgsched.set_queue_events is
  'Lets other programs be told, on the channel pgsched_events, what happens to the tasks of a queue, or no longer.';

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
    'progress', t.progress, 'result', t.result, 'last_error', t.last_error)
  into found_task
  from pgsched.known_tasks t where t.id = status.id limit 1;
  if found_task is null then
    raise no_data_found using message = format('task %s does not exist', id);
  end if;
  return found_task;
end $$;
comment on function pgsched.status is
  'How a task is: status, attempts, next run, progress, result, error. Of tasks that the caller may see.';

create function pgsched.wait(id bigint, timeout interval default '1 minute') returns jsonb
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
    select t.status::text as status, t.schedule_type <> 'one_time' as is_schedule, t.overlap::text as overlap, t.result,
      t.last_error, t.fencing_token
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
comment on function pgsched.wait is
  'Waits until a task is completed and returns its result; of a schedule that of its next completed tick. SQLSTATE PG002: it is dead or cancelled; PG003: the time is over. Looks after 10 ms, then less often, at last twice a second.';

revoke execute on function pgsched.pause_queue, pgsched.resume_queue, pgsched.set_queue_events from public;
