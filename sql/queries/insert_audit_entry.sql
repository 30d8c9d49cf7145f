-- Records a change in the transaction that makes it.
insert into pgsched.audit_log (actor, role, remote, action, task_id, queue, target, before, after, task_ids)
values (%(actor)s, %(role)s, %(remote)s, %(action)s, %(task_id)s, %(queue)s, %(target)s, %(before)s::jsonb,
  %(after)s::jsonb, %(task_ids)s::bigint[])
returning id
