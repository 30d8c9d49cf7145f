-- Lists sessions of the web face that were ended since a moment, and would go on.
select s.id, s.ends_at, s.revoked_at
from pgsched.revoked_sessions s
where s.revoked_at >= %(since)s and s.ends_at > now()
