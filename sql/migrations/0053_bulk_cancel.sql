-- Works with programs of version 12 of the schema and later.
--
-- Most tasks of a bulk cancellation wait and nothing depends on them: those are cancelled by one statement.

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
comment on function pgsched.cancel_waiting is
  'For the schema: cancels those of these tasks, which the caller has locked, that wait for their time and whose end is nobody else''s business: without dependents, children, a suspended run, and events of their queue. Returns their ids.';

create or replace function pgsched.change_tasks(
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

revoke execute on function pgsched.cancel_waiting from public;
do $$
declare
  one record;
begin
  for one in
    select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_proc p cross join aclexplode(p.proacl) a
    where p.oid = 'pgsched.change_tasks'::regproc and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
  loop
    execute format('grant execute on function pgsched.cancel_waiting to %s', one.grantee);
  end loop;
end $$;
