-- Out of the waiting room: rows whose key is known are left out. In the order of the keys, so that two callers with the
-- same ones wait for each other and not in a circle.
insert into pgsched.tasks ({columns})
select {columns} from pg_temp.pgsched_staged_tasks order by idempotency_key
on conflict (idempotency_key) where idempotency_key is not null do nothing
