-- Keeps the mark of rows whose lock was lost: this transaction has locked them too and releases them, which would erase
-- it.
update pgsched.tasks t
set unbegun_token = -1
where t.id = any(%(ids)s::bigint[]) and t.status = 'pending'
