-- Lets the children of a group that has just fired carry the context of the span in which it did, unless a step brings one
-- of its own.
update pgsched.tasks t
set metadata = (t.metadata::jsonb - array['tracestate', 'baggage']) || %(carrier)s::jsonb
from pgsched.tasks g
where g.id = %(id)s and t.id = any(g.fired)
  and coalesce(t.metadata ->> 'traceparent' = g.metadata ->> 'traceparent', not t.metadata ? 'traceparent')
