-- One action on many tasks: what pgsched.cancel and its like do to one, without a refusal for those that it does not suit.

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

create function pgsched.change_tasks(action text, ids bigint[], dry_run boolean) returns setof bigint
language plpgsql as $$
declare
  one bigint;
  task pgsched.tasks;
begin
  if not dry_run then
    perform from pgsched.tasks t where t.id = any(ids) order by t.id for update;
  end if;
  for one in select t.id from pgsched.tasks t where t.id = any(ids) order by t.id loop
    -- Read again: it may have gone, or been cancelled, with another one.
    select * into task from pgsched.tasks t where t.id = one;
    continue when not found or not pgsched.may_change(action, task);
    if not dry_run then
      case action
        when 'enable' then perform pgsched.enable(one);
        when 'disable' then perform pgsched.disable(one);
        when 'run' then perform pgsched.run_now(one);
        when 'cancel' then perform pgsched.cancel(one);
        when 'retry' then perform pgsched.retry(one);
        when 'delete' then delete from pgsched.tasks t where t.id = one;
      end case;
    end if;
    return next one;
  end loop;
end $$;
