-- Changes the payloads of those of many tasks that wait, by a merge patch; a refusal is of one that stays as it is.
-- A dry run only returns which tasks those are.
select id, refusal from pgsched.edit_payloads(%(ids)s::bigint[], %(patch)s::jsonb, %(dry_run)s::boolean)
