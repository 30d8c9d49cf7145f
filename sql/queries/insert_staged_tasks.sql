-- Out of the waiting room: rows whose key is known are left out.
insert into pgsched.tasks ({columns})
select {columns} from pg_temp.pgsched_staged_tasks order by id
on conflict (idempotency_key) where idempotency_key is not null do nothing
