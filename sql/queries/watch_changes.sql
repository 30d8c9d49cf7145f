-- Returns a number that changes when the tables change. It reads only statistics.
select coalesce(sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del), 0)::bigint as changes
from pg_stat_user_tables s
where s.schemaname = 'pgsched' and s.relname !~ '^(audit_log|locks)$'
