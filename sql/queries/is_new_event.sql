-- Returns whether an event was stored by this transaction, rather than by an earlier one with the same key.
select e.xmin = pg_current_xact_id()::xid as is_new from pgsched.durable_events e where e.id = %(id)s
