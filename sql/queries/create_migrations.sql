-- The schema and the list of what was applied to it: one round trip, safe to repeat under the lock.
do $$
begin
  if to_regclass('pgsched.migrations') is null then
    -- Not "if not exists": that asks for the right to make one, even where somebody made it for us.
    if to_regnamespace('pgsched') is null then
      create schema pgsched;
      comment on schema pgsched is 'pgsched: a job queue and scheduler';
    end if;
    create table pgsched.migrations (
      version integer primary key,
      name text not null,
      applied_at timestamptz not null default now(),
      works_with integer);
    comment on table pgsched.migrations is 'The schema''s version: one row per migration applied.';
    comment on column pgsched.migrations.works_with is 'Programs made for this version of the schema, or a later one, work with it after this migration.';
  elsif not exists (
    select from pg_attribute
    where attrelid = 'pgsched.migrations'::regclass and attname = 'works_with' and not attisdropped
  ) then
    alter table pgsched.migrations add column works_with integer;
    comment on column pgsched.migrations.works_with is 'Programs made for this version of the schema, or a later one, work with it after this migration.';
  end if;
end $$
