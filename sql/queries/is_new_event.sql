-- Says whether an event was stored by this transaction, and not by one before that used the same key.
select e.xmin = pg_current_xact_id()::xid as is_new from pgsched.durable_events e where e.id = %(id)s
