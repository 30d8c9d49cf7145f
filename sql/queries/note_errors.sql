-- Writes the errors of buckets that were counted in the same transaction.
select pgsched.note_errors(%(buckets)s::timestamptz[], %(errors)s::text::jsonb)
