-- What can be deleted and what something of the users' keeps, each with its status: in a transaction that is undone.
select d.id, d.status, d.refusal
from pgsched.delete_apart(%(ids)s::bigint[], array['completed', 'cancelled', 'dead']) d
