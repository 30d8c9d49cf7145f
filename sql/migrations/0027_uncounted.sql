-- Works with programs of version 12 of the schema and later.
--
-- An attempt that was lost with the transaction that had locked its row is in the history, and not among those that count.
comment on column pgsched.executions.attempt is
  'Which attempt at the tick it was, from 1. 0: one that is not counted, lost with the transaction that had locked the task.';
comment on column pgsched.visible_executions.attempt is
  'Which attempt at the tick it was, from 1. 0: one that is not counted, lost with the transaction that had locked the task.';
