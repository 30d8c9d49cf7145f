-- Prevents others from changing a calendar until the end of the transaction: by its row, and while there is none by an
-- advisory lock, which every caller that compares versions takes.
select pg_advisory_xact_lock(hashtextextended('pgsched calendar ' || %(name)s::text, 0)),
  (select count(*) from (select from pgsched.calendars c where c.name = %(name)s::text for no key update) held) as rows
