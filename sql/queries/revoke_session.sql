-- Ends a session of the web face.
select pgsched.revoke_session(%(id)s, %(ends_at)s)
