-- Works with programs of version 12 of the schema and later.
--
-- A transaction that began after the snapshot of who asks may have ended, too: a worker that dies at the very beginning of
-- an attempt often dies while another one's claim goes on. It was taken for one that goes on, and the attempt that killed
-- the worker was not counted a second time.
create or replace function pgsched.lock_was_lost(locker xid) returns boolean
language sql stable parallel safe as $$
  -- The low half of a number of 64 bits is known. What is not below the snapshot's next one is of the round before, or
  -- began after the snapshot. A status that is too old to be known counts as lost: the row is leased then.
  select case
    when locker = '0' then false
    when x.number - x.next between 0 and 2147483647 then coalesce(pg_xact_status(x.number::text::xid8) = 'aborted', false)
    when x.number < x.next then coalesce(pg_xact_status(x.number::text::xid8) = 'aborted', true)
    else coalesce(pg_xact_status((x.number - 4294967296)::text::xid8) = 'aborted', true) end
  from (
    select s.next, (s.next & -4294967296) | locker::text::bigint as number
    from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next) s) x
$$;
