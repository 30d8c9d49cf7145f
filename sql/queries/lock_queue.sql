-- Prevents others from changing the settings of a queue until the end of the transaction: by its row, and while there
-- is none by an advisory lock, which every caller that compares versions takes.
select pg_advisory_xact_lock(hashtextextended('pgsched queue ' || %(queue)s::text, 0)),
  (select count(*) from (select from pgsched.queues q where q.name = %(queue)s::text for no key update) held) as rows
