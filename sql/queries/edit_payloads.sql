-- Changes the payloads of many waiting tasks by a merge patch; a rejected payload stays as it is and is reported. A dry
-- run only returns which tasks would change.
select id, refusal from pgsched.edit_payloads(%(ids)s::bigint[], %(patch)s::jsonb, %(dry_run)s::boolean)
