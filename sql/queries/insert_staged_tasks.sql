-- Inserts the staged rows whose keys do not exist yet. It goes in the order of the keys, so that two callers with the
-- same keys cannot deadlock.
insert into pgsched.tasks ({columns})
select {columns} from pg_temp.pgsched_staged_tasks order by idempotency_key
on conflict (idempotency_key) where idempotency_key is not null do nothing
