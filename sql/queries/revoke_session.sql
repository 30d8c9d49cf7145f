-- Ends a session of the dashboard.
select pgsched.revoke_session(%(id)s, %(ends_at)s)
