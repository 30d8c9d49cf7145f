-- Tries to delete tasks, in a transaction that is rolled back. Returns which can be deleted and which a user's object
-- keeps, each with its status.
select d.id, d.status, d.refusal
from pgsched.delete_apart(%(ids)s::bigint[], array['completed', 'cancelled', 'dead']) d
