-- Lists the locks that are held, and those that expired without being released.
select l.name, l.holder, l.owner, l.fencing_token, l.acquired_at, l.locked_until, l.locked_until > now() as held
from pgsched.locks l
order by l.name
