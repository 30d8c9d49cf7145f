-- Works with programs of version 12 of the schema and later.
--
-- Since fencing tokens come from a sequence the claim before has not the number before: an edit of a schedule whose run
-- had been lost and was made again noted the ticks that this run stands for as dropped, and the finish noted them again.

create or replace function pgsched.note_rest(task pgsched.tasks, until timestamptz) returns void
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
