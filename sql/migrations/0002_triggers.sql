-- What the database does by itself when a task is inserted or edited: derive, refuse, plan, wake.

create function pgsched.cron_number(word text, low integer, high integer, names text[]) returns integer
language sql immutable as $$
-- The number that a word of a cron field stands for; null when it stands for none.
select case
  when word = any(names) then array_position(names, word) - 1 + low
  when word ~ '^\d{1,9}$' and word::integer between low and high then word::integer
end
$$;

create function pgsched.cron_problem(expression text) returns text
language plpgsql immutable strict as $$
-- The rule that a cron expression breaks, or null. Field by field, as the worker that plans the row reads it; whether the
-- fields together ever match is left to the worker.
declare
  fields text[] := regexp_split_to_array(lower(btrim(expression, E' \t\n\r\f\v')), '\s+');
  labels constant text[] := array['second', 'minute', 'hour', 'day of month', 'month', 'day of week'];
  lows constant integer[] := array[0, 0, 0, 1, 1, 0];
  highs constant integer[] := array[59, 59, 23, 31, 12, 7];
  names text[];
  item text;
  span text;
  step text;
  word text;
  ends text[];
begin
  if length(expression) > 200 then
    return 'must have at most 200 characters, got ' || length(expression);
  end if;
  if fields[1] ~ '^@' and cardinality(fields) = 1 then
    if fields[1] in ('@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually') then
      return null;
    end if;
    return 'an alias must be one of @hourly @daily @midnight @weekly @monthly @yearly @annually';
  end if;
  if cardinality(fields) not in (5, 6) then
    return 'must have 5 fields (minute hour day month weekday) or 6 with seconds first, got '
      || case when fields[1] = '' then 0 else cardinality(fields) end;
  end if;
  if cardinality(fields) = 5 then
    fields := array['0'] || fields;
  elsif fields[1] ~ '\*|^[^-]*/' and fields[6] ~ '\d' then
    return 'may mean seconds first or last; they come first: name the weekday if that is meant, as in "sun", got "'
      || fields[6] || '"';
  end if;
  for i in 1..6 loop
    names := case i
      when 5 then array['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
      when 6 then array['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']
      else array[]::text[] end;
    if i in (4, 6) and fields[i] = '?' then
      continue;
    end if;
    foreach item in array string_to_array(fields[i], ',') loop
      if i = 4 and item = 'l' then
        continue;
      end if;
      if i = 6 and item ~ '[#l]' then
        -- The nth weekday (mon#2) and the last one (5l, l5, fril).
        word := case when item ~ '#' then split_part(item, '#', 1) else regexp_replace(item, '^l|l$', '') end;
        if item ~ '#' and item !~ '#[1-5]$' or pgsched.cron_number(word, 0, 7, names) is null then
          return format('%s cannot be read: %L', labels[i], item);
        end if;
        continue;
      end if;
      span := split_part(item, '/', 1);
      step := nullif(substr(item, length(span) + 1), '');
      if step is not null and (step !~ '^/\d{1,9}$' or substr(step, 2)::integer not between 1 and highs[i]) then
        return format('%s step must be between 1 and %s, got %L', labels[i], highs[i], substr(step, 2));
      end if;
      continue when span = '*';
      ends := string_to_array(span, '-');
      if cardinality(ends) not in (1, 2) then
        return format('%s cannot be read: %L', labels[i], item);
      end if;
      foreach word in array ends loop
        if pgsched.cron_number(word, lows[i], highs[i], names) is null then
          if word ~ '^\d+$' then
            return format('%s must be between %s and %s, got %s', labels[i], lows[i], highs[i], word);
          end if;
          return format('%s cannot be read: %L', labels[i], item);
        end if;
      end loop;
      -- A range may end on Sunday: fri-sun.
      if pgsched.cron_number(ends[1], lows[i], highs[i], names) > pgsched.cron_number(ends[2], lows[i], highs[i], names)
        and not (i = 6 and ends[2] in ('sun', '0')) then
        return format('%s range must not run backwards, got %L', labels[i], span);
      end if;
    end loop;
  end loop;
  return null;
end $$;
comment on function pgsched.cron_problem is 'The rule that a cron expression breaks, or null when it can be read.';

create function pgsched.check_schedule(task pgsched.tasks) returns void
language plpgsql stable as $$
-- Refuses a time zone or a cron expression that cannot be read, naming column, value and rule.
declare
  problem text;
begin
  if task.timezone <> 'UTC'
    and not exists (select from pgsched.timezones z where z.name = task.timezone)
    and not exists (select from pg_timezone_names z where z.name = task.timezone
                    and z.name !~ '^(posix|right)/' and z.name not in ('localtime', 'posixrules', 'Factory')) then
    raise invalid_parameter_value using
      message = format('timezone must be a name of the IANA time zone database, got %L', task.timezone),
      column = 'timezone', table = 'tasks', schema = 'pgsched';
  end if;
  problem := pgsched.cron_problem(task.cron_expression);
  if problem is not null then
    raise invalid_parameter_value using
      message = format('cron_expression %L: %s', left(task.cron_expression, 100), problem),
      column = 'cron_expression', table = 'tasks', schema = 'pgsched';
  end if;
end $$;

create function pgsched.wake_sleepers(queue text, due timestamptz) returns void
language plpgsql as $$
-- NOTIFY takes a lock that every committing session shares, so it is sent only when some worker sleeps past `due`.
begin
  if exists (select from pgsched.workers w
             where w.sleeping_until > due
               and (w.queues @> array[wake_sleepers.queue] or wake_sleepers.queue like any (w.patterns))) then
    perform pg_notify('pgsched', wake_sleepers.queue);
  end if;
end $$;

create function pgsched.prepare_task() returns trigger
language plpgsql as $$
begin
  if new.schedule_type is null then
    new.schedule_type := case
      when new.cron_expression is not null then 'recurring'
      when new.repeat_interval is not null then 'repeating'
      else 'one_time' end;
  end if;
  if new.timezone <> 'UTC' or new.cron_expression is not null then
    perform pgsched.check_schedule(new);
  end if;
  if new.task_type = 'pgsched.group' then
    perform pgsched.check_group(new.payload);
  end if;
  if new.status = 'pending' then
    if new.schedule_type = 'one_time' then
      new.scheduled_for := coalesce(new.scheduled_for, new.next_run_at, new.start_date, now());
      new.next_run_at := coalesce(new.next_run_at, new.scheduled_for + coalesce(new.jitter * random(), '0'));
    else
      if new.schedule_type = 'repeating' then
        -- The origin of the grid: every tick is computed from it, so that a month's end or a clock change does not
        -- shift the ticks after it.
        new.start_date := coalesce(new.start_date, new.scheduled_for, now());
      end if;
      -- Due at once without a tick: the worker that claims it plans the first one.
      new.next_run_at := coalesce(new.next_run_at, new.scheduled_for, now());
    end if;
    if cardinality(new.depends_on) > 0 then
      new := pgsched.block_task(new, (select count(distinct u) from unnest(new.depends_on) u)::integer);
      return new;
    end if;
    if new.enabled and exists (select from pgsched.workers w
                               where w.sleeping_until > new.next_run_at
                                 and (w.queues @> array[new.queue::text] or new.queue like any (w.patterns))) then
      perform pg_notify('pgsched', new.queue);
    end if;
  end if;
  return new;
end $$;
create trigger prepare before insert on pgsched.tasks
  for each row execute function pgsched.prepare_task();

create function pgsched.replan_task() returns trigger
language plpgsql as $$
-- An edited schedule is planned afresh: at once when it waits, after its finish when it runs (the finish sees that
-- the revision has moved on and books nothing).
begin
  if new.schedule_type = old.schedule_type then
    new.schedule_type := case
      when new.cron_expression is not null then 'recurring'
      when new.repeat_interval is not null then 'repeating'
      else 'one_time' end;
  end if;
  perform pgsched.check_schedule(new);
  if new.schedule_type = 'repeating' then
    new.start_date := coalesce(new.start_date, now());
  end if;
  new.revision := old.revision + 1;
  new.planned_from := now();
  new.updated_at := now();
  if new.schedule_type <> 'one_time' and new.status in ('pending', 'completed', 'dead')
    and new.scheduled_for is not distinct from old.scheduled_for
    and new.next_run_at is not distinct from old.next_run_at then
    if old.status = 'pending' and old.attempts > 0 and old.scheduled_for is not null then
      -- Its retry was still to come; the edit takes its place.
      insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick)
      values (old.id, old.task_type, old.queue, 'edit', 1, old.scheduled_for);
    end if;
    new.status := 'pending';
    new.scheduled_for := null;
    new.next_run_at := now();
    new.attempts := 0;
    new.completed_at := null;
    new.died_at := null;
    new.last_error := null;
    if new.enabled then
      perform pgsched.wake_sleepers(new.queue, new.next_run_at);
    end if;
  end if;
  return new;
end $$;
create trigger replan
  before update of schedule_type, cron_expression, timezone, start_date, end_date, repeat_interval, repeat_count
  on pgsched.tasks
  for each row
  when ((old.schedule_type, old.cron_expression, old.timezone, old.start_date, old.end_date, old.repeat_interval, old.repeat_count)
    is distinct from
    (new.schedule_type, new.cron_expression, new.timezone, new.start_date, new.end_date, new.repeat_interval, new.repeat_count))
  execute function pgsched.replan_task();

create function pgsched.move_due_clock() returns trigger
language plpgsql as $$
-- A one-time task whose nominal time was edited is due at its new time.
begin
  new.next_run_at := new.scheduled_for;
  new.updated_at := now();
  perform pgsched.wake_sleepers(new.queue, new.next_run_at);
  return new;
end $$;
create trigger reschedule before update of scheduled_for on pgsched.tasks
  for each row
  when (new.schedule_type = 'one_time' and old.status = 'pending' and new.status = 'pending'
    and new.scheduled_for is distinct from old.scheduled_for and new.next_run_at is not distinct from old.next_run_at)
  execute function pgsched.move_due_clock();

create function pgsched.announce_task() returns trigger
language plpgsql as $$
begin
  perform pgsched.wake_sleepers(new.queue, new.next_run_at);
  return new;
end $$;
create trigger wake before update of next_run_at, enabled, queue, priority on pgsched.tasks
  for each row
  when (new.status = 'pending' and new.enabled
    and (not old.enabled or old.next_run_at is null or new.next_run_at < old.next_run_at or new.queue <> old.queue))
  execute function pgsched.announce_task();

create function pgsched.touch_task() returns trigger
language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end $$;
create trigger touch before update of task_type, task_name, queue, priority, payload, metadata, tags, enabled,
    max_attempts, backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter
  on pgsched.tasks
  for each row execute function pgsched.touch_task();

create function pgsched.unpause_queue() returns trigger
language plpgsql as $$
begin
  perform pgsched.wake_sleepers(new.name, '-infinity');
  return new;
end $$;
create trigger wake after update of paused on pgsched.queues
  for each row when (old.paused and not new.paused) execute function pgsched.unpause_queue();
