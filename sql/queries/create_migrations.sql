-- Creates the schema and its table of applied migrations, in one round trip; safe to repeat under the lock.
do $$
begin
  if to_regclass('pgsched.migrations') is null then
    -- Not "if not exists": that needs the right to create schemas even if an administrator has created this one.
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
    comment on column pgsched.migrations.works_with is
      'Programs made for this version of the schema, or a later one, work with it after this migration.';
  elsif not exists (
    select from pg_attribute
    where attrelid = 'pgsched.migrations'::regclass and attname = 'works_with' and not attisdropped
  ) then
    alter table pgsched.migrations add column works_with integer;
    comment on column pgsched.migrations.works_with is
      'Programs made for this version of the schema, or a later one, work with it after this migration.';
  end if;
end $$
