-- Lists dashboard sessions that were ended after the given time and would otherwise still be valid.
select s.id, s.ends_at, s.revoked_at
from pgsched.revoked_sessions s
where s.revoked_at >= %(since)s and s.ends_at > now()
