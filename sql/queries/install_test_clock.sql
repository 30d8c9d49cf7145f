-- Installs a movable clock in a test database: functions with the names of PostgreSQL's own that new sessions find
-- first, because the database's search_path lists their schema before pg_catalog (and after all others, so that new
-- tables still go to the same schema). Everything bound to PostgreSQL's own functions is rebound: functions of the
-- schema pgsched by their search_path, and column defaults and views. Safe to repeat.
do $install$
declare
  clocks constant text := '\m(now|clock_timestamp|statement_timestamp|transaction_timestamp)\(\)';
  usual text := (select reset_val from pg_settings where name = 'search_path');
  one record;
begin
  if to_regclass('pgsched_clock.setting') is null then
    create schema pgsched_clock;
    create table pgsched_clock.setting (
      single boolean primary key default true check (single),
      frozen timestamptz,
      shift interval not null default '0');
    insert into pgsched_clock.setting default values;
    create function pgsched_clock.now() returns timestamptz language sql stable parallel safe
      as 'select coalesce(frozen, pg_catalog.now() + shift) from pgsched_clock.setting';
    create function pgsched_clock.transaction_timestamp() returns timestamptz language sql stable parallel safe
      as 'select coalesce(frozen, pg_catalog.transaction_timestamp() + shift) from pgsched_clock.setting';
    create function pgsched_clock.statement_timestamp() returns timestamptz language sql stable parallel safe
      as 'select coalesce(frozen, pg_catalog.statement_timestamp() + shift) from pgsched_clock.setting';
    create function pgsched_clock.clock_timestamp() returns timestamptz language sql volatile parallel safe
      as 'select coalesce(frozen, pg_catalog.clock_timestamp() + shift) from pgsched_clock.setting';
    grant usage on schema pgsched_clock to public;
    grant select on pgsched_clock.setting to public;
  end if;
  -- Functions that qualify the clock with pg_catalog are recreated.
  for one in
    select regexp_replace(pg_get_functiondef(p.oid), '\mpg_catalog\.' || substr(clocks, 3), 'pgsched_clock.\1()', 'gi')
      as definition
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'pgsched'::regnamespace and l.lanname = 'plpgsql'
      and p.prosrc ~* ('\mpg_catalog\.' || substr(clocks, 3))
  loop
    execute one.definition;
  end loop;
  -- With a path of its own it would not be inlined into the statements that call it, so it names the clock.
  execute regexp_replace(pg_get_functiondef('pgsched.is_claimable'::regproc), '(?<!\.)' || clocks,
    'pgsched_clock.\1()', 'gi');
  for one in
    select p.oid::regprocedure as function,
      coalesce((select substr(c, 13) from unnest(p.proconfig) c where c like 'search_path=%'),
        'pg_catalog, pg_temp') as path
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'pgsched'::regnamespace and l.lanname in ('sql', 'plpgsql') and p.prosqlbody is null
      and p.prosrc ~* ('(?<!\.)' || clocks)
  loop
    if one.path !~ '\mpgsched_clock\M' then
      execute format('alter function %s set search_path = pgsched_clock, %s', one.function, one.path);
    end if;
  end loop;
  perform set_config('search_path', 'pg_catalog', true);  -- how the defaults are written
  for one in
    select d.adrelid::regclass as "table", a.attname as "column", pg_get_expr(d.adbin, d.adrelid) as "default"
    from pg_attrdef d
    join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    join pg_class c on c.oid = d.adrelid
    where c.relnamespace = 'pgsched'::regnamespace and a.attgenerated = ''
      and pg_get_expr(d.adbin, d.adrelid) ~* ('(^|[^.])' || clocks)
  loop
    execute format('alter table %s alter column %I set default %s', one."table", one."column",
      regexp_replace(one."default", clocks, 'pgsched_clock.\1()', 'gi'));
  end loop;
  for one in
    select c.oid::regclass as "view", pg_get_viewdef(c.oid) as definition,
      array_to_string(c.reloptions, ', ') as options
    from pg_class c
    where c.relnamespace = 'pgsched'::regnamespace and c.relkind = 'v'
      and pg_get_viewdef(c.oid) ~* ('(^|[^.])' || clocks)
  loop
    execute format('create or replace view %s with (%s) as %s', one."view",
      coalesce(one.options, 'security_barrier = false'),
      regexp_replace(one.definition, '(?<!\.)' || clocks, 'pgsched_clock.\1()', 'gi'));
  end loop;
  if usual !~ '\mpgsched_clock\M' then
    usual := coalesce(nullif(regexp_replace(usual, ',?\s*\mpg_catalog\M', ''), '') || ', ', '');
    execute format('alter database %I set search_path = %s', current_database(), usual || 'pgsched_clock, pg_catalog');
  end if;
end $install$
