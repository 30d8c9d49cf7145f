-- The schema and the list of what was applied to it: one round trip, safe to repeat under the lock.
do $$
begin
  if to_regclass('pgsched.migrations') is null then
    create schema if not exists pgsched;
    create table pgsched.migrations (
      version integer primary key,
      name text not null,
      applied_at timestamptz not null default now());
    comment on schema pgsched is 'pgsched: a job queue and scheduler';
    comment on table pgsched.migrations is 'The schema''s version: one row per migration applied.';
  end if;
end $$
