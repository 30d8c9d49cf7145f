-- Gives the children of a group that has just fired the trace context of the span that fired it, unless a step has its
-- own.
update pgsched.tasks t
set metadata = (t.metadata::jsonb - array['tracestate', 'baggage']) || %(carrier)s::jsonb
from pgsched.tasks g
where g.id = %(id)s and t.id = any(g.fired)
  and coalesce(t.metadata ->> 'traceparent' = g.metadata ->> 'traceparent', not t.metadata ? 'traceparent')
