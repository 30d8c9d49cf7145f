-- Lists what the schema consists of, for a comparison with what the migrations create: indexes, triggers, columns, and
-- the constraints of tables and domains. Daily partitions are left out: they are copies of their parents.
select 'index' as kind, t.relname || '.' || c.relname as name, i.indisvalid and i.indisready as works,
  pg_get_indexdef(i.indexrelid) as definition
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_class t on t.oid = i.indrelid
where t.relnamespace = 'pgsched'::regnamespace and not t.relispartition and t.relkind in ('r', 'p')
union all
select 'trigger', t.relname || '.' || g.tgname, g.tgenabled in ('O', 'A'), pg_get_triggerdef(g.oid)
from pg_trigger g
join pg_class t on t.oid = g.tgrelid
where t.relnamespace = 'pgsched'::regnamespace and not g.tgisinternal and not t.relispartition
union all
select 'constraint', t.relname || '.' || k.conname, k.convalidated, pg_get_constraintdef(k.oid)
from pg_constraint k
join pg_class t on t.oid = k.conrelid
where k.connamespace = 'pgsched'::regnamespace and k.contype in ('c', 'p', 'u', 'f', 'x') and not t.relispartition
union all
select 'domain', d.typname || '.' || k.conname, k.convalidated, pg_get_constraintdef(k.oid)
from pg_constraint k
join pg_type d on d.oid = k.contypid
where k.connamespace = 'pgsched'::regnamespace and k.contype = 'c'
union all
select 'column', t.relname || '.' || a.attname, true, format_type(a.atttypid, a.atttypmod)
from pg_attribute a
join pg_class t on t.oid = a.attrelid
where t.relnamespace = 'pgsched'::regnamespace and a.attnum > 0 and not a.attisdropped and not t.relispartition
  and t.relkind in ('r', 'p')
order by 1, 2
