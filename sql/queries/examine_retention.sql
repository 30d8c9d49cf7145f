-- Returns whether anything is ever deleted: finished tasks by a rule of a queue or of all queues, the history by days.
select (s.retention is not null or s.retention_count is not null
    or exists (select from pgsched.queues q where q.retention is not null or q.retention_count is not null)) as tasks,
  s.history_retention is not null as history
from pgsched.settings s
