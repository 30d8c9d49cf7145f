"""Reads the schema pgsched from the catalogs of a database, in an order that does not depend on the server.

Partitions of single days are left out: workers create and drop them.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]

# Domains are ordered by their first use in `tasks`, composite types follow the domains.
TYPES: Final = """
    select t.oid, t.typname::text as name, t.typtype::text as kind, t.typrelid, t.typnotnull as not_null, t.typdefault,
      format_type(nullif(t.typbasetype, 0), t.typtypmod) as base
    from pg_type t
    left join pg_class c on c.oid = t.typrelid
    where t.typnamespace = 'pgsched'::regnamespace and t.typelem = 0 and (t.typtype <> 'c' or c.relkind = 'c')
      and t.typtype not in ('b', 'p')
    order by t.typtype = 'c', (
      select min(a.attnum) from pg_attribute a
      where a.attrelid = 'pgsched.tasks'::regclass and a.atttypid = t.oid and not a.attisdropped), t.typname
"""
RELATIONS: Final = """
    select c.oid, c.relname::text as name, c.relkind::text as kind, c.relpersistence = 'u' as unlogged,
      coalesce(c.reloptions, '{}') || array(select 'toast.' || o from unnest(toast.reloptions) o) as options,
      c.relreplident = 'f' as whole_rows_replicated,
      pg_get_partkeydef(c.oid) as partitioned_by, pg_get_expr(c.relpartbound, c.oid) as bound,
      i.inhparent::regclass::text as parent, pg_get_viewdef(c.oid, true) as definition
    from pg_class c
    left join pg_class toast on toast.oid = c.reltoastrelid
    left join pg_inherits i on i.inhrelid = c.oid
    where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p', 'v')
      and coalesce(pg_get_expr(c.relpartbound, c.oid), 'DEFAULT') = 'DEFAULT'
    order by c.relname
"""
# Only explicit sequences: that of an identity column belongs to the column.
SEQUENCES: Final = """
    select c.relname::text as name, quote_ident(a.attname) as column
    from pg_depend d
    join pg_class c on c.oid = d.objid
    join pg_attribute a on (a.attrelid, a.attnum) = (d.refobjid, d.refobjsubid)
    where d.refobjid = %s and d.deptype = 'a' and d.classid = 'pg_class'::regclass and c.relkind = 'S'
    order by c.relname
"""
COLUMNS: Final = """
    select quote_ident(a.attname) as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
      a.attidentity::text as identity, a.attgenerated::text as generated,
      coalesce(pg_get_expr(d.adbin, d.adrelid), '') as default, col_description(a.attrelid, a.attnum) as comment
    from pg_attribute a
    left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
    where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
    order by a.attnum
"""
# Keys before checks. A not-null constraint is written at its column.
CONSTRAINTS: Final = """
    select k.conname::text as name, k.contype::text as kind, pg_get_constraintdef(k.oid, true) as definition,
      obj_description(k.oid, 'pg_constraint') as comment
    from pg_constraint k
    where %s in (k.conrelid, k.contypid) and k.contype in ('p', 'u', 'f', 'x', 'c')
    order by position(k.contype in 'pufxc'), k.conname
"""
INDEXES: Final = """
    select c.relname::text as name, pg_get_indexdef(c.oid, 0, true) as definition,
      obj_description(c.oid, 'pg_class') as comment
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    where i.indrelid = %s
      and not exists (select from pg_constraint k where k.conindid = c.oid and k.contype in ('p', 'u', 'x'))
    order by c.relname
"""
FUNCTIONS: Final = """
    select p.oid, p.proname::text as name, l.lanname::text as language, p.prosrc as body,
      pg_get_function_arguments(p.oid) as arguments, pg_get_function_identity_arguments(p.oid) as identity,
      count(*) over (partition by p.proname) > 1 as overloaded, pg_get_function_result(p.oid) as returns,
      p.provolatile::text as volatile, p.proisstrict as strict, p.proleakproof as leakproof, p.prosecdef as definer,
      p.proparallel::text as parallel, p.procost as cost, p.prorows as rows, p.proretset as returns_set,
      coalesce(p.proconfig, '{}') as settings, pg_get_function_sqlbody(p.oid) as parsed,
      obj_description(p.oid, 'pg_proc') as comment,
      p.proacl is null or exists (select from aclexplode(p.proacl) a where a.grantee = 0) as public
    from pg_proc p
    join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'pgsched'::regnamespace and p.prokind = 'f'
    order by p.proname, p.oid
"""
TRIGGERS: Final = """
    select g.tgname::text as name, c.relname::text as table, pg_get_triggerdef(g.oid, true) as definition,
      obj_description(g.oid, 'pg_trigger') as comment
    from pg_trigger g
    join pg_class c on c.oid = g.tgrelid
    where c.relnamespace = 'pgsched'::regnamespace and not g.tgisinternal and not c.relispartition
    order by c.relname, g.tgtype & 2 = 0, g.tgname
"""
# Rights of PUBLIC on tables, views and the schema; the rights of roles belong to the server.
PUBLIC_RIGHTS: Final = """
    select c.relname::text as name, string_agg(lower(a.privilege_type), ', ' order by a.privilege_type) as rights
    from pg_class c
    cross join lateral aclexplode(c.relacl) a
    where c.relnamespace = 'pgsched'::regnamespace and a.grantee = 0
    group by c.relname
    order by c.relname
"""


class Catalog:
    """Reads the catalogs of one database."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, row_factory=dict_row)
        # All our names are printed with their schema, whatever the database's search_path is.
        self._connection.execute("set search_path = pg_catalog")

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, query: LiteralString, *values: object) -> list[Row]:
        """Return the rows of a query as mappings."""
        return self._connection.execute(query, values or None).fetchall()

    def comment_on(self, oid: int, catalog: str) -> str:
        """Return the comment on an object of a catalog, empty if it has none."""
        (row,) = self.ask("select coalesce(obj_description(%s, %s), '') as comment", oid, catalog)
        return str(row["comment"])
