-- A number of what has happened to the tables so far: it is another one when something changed. Statistics only: no row is
-- read.
select coalesce(sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del), 0)::bigint as changes
from pg_stat_user_tables s
where s.schemaname = 'pgsched' and s.relname !~ '^(audit_log|locks)$'
