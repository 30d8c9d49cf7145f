-- Lists foreign objects that affect the tables of pgsched and that examine_catalog does not show, and settings of roles
-- and databases that change how statements run.
select 'policy' as kind, t.relname || '.' || p.polname as name, null as about
from pg_policy p
join pg_class t on t.oid = p.polrelid
where t.relnamespace = 'pgsched'::regnamespace
union all
select 'row security', t.relname, case when t.relforcerowsecurity then 'forced for the owner too' else '' end
from pg_class t
where t.relnamespace = 'pgsched'::regnamespace and t.relrowsecurity
union all
select 'rule', t.relname || '.' || r.rulename, null
from pg_rewrite r
join pg_class t on t.oid = r.ev_class
where t.relnamespace = 'pgsched'::regnamespace and t.relkind in ('r', 'p')
union all
select 'foreign key', k.conrelid::regclass || '.' || k.conname, t.relname
from pg_constraint k
join pg_class t on t.oid = k.confrelid
where k.contype = 'f' and k.conparentid = 0 and t.relnamespace = 'pgsched'::regnamespace
  and k.connamespace <> 'pgsched'::regnamespace
union all
select 'publication', p.pubname, case when p.puballtables then 'of all tables' else 'of ' || min(t.relname) end
from pg_publication p
left join pg_publication_tables m on m.pubname = p.pubname and m.schemaname = 'pgsched'
left join pg_class t on t.relnamespace = 'pgsched'::regnamespace and t.relname = m.tablename
where p.puballtables or t.oid is not null
group by p.pubname, p.puballtables
union all
select 'event trigger', e.evtname, e.evtevent from pg_event_trigger e where e.evtenabled <> 'D'
union all
select 'setting', coalesce(d.datname, r.rolname, 'server') || ': ' || split_part(s.setting, '=', 1),
  'alter ' || concat_ws(' in ', 'role ' || quote_ident(r.rolname), 'database ' || quote_ident(d.datname)) || ' set '
    || left(s.setting, 100)
from pg_db_role_setting c
cross join lateral unnest(c.setconfig) as s(setting)
left join pg_database d on d.oid = c.setdatabase
left join pg_roles r on r.oid = c.setrole
where (c.setdatabase = 0 or d.datname = current_database())
  and (c.setrole = 0 or has_schema_privilege(c.setrole, 'pgsched', 'usage'))
  and lower(split_part(s.setting, '=', 1)) = any(%(settings)s::text[])
order by 1, 2
limit %(cap)s
