-- Creates the roles that do not exist yet. Roles belong to the whole server: existing ones, created for another
-- database or by an administrator, stay as they are. None may log in: your own roles do, as members.
do $$
declare
  role text;
begin
  foreach role in array
    array['pgsched_owner', 'pgsched_worker', 'pgsched_producer', 'pgsched_viewer', 'pgsched_operator']
  loop
    continue when exists (select from pg_roles where rolname = role);
    begin
      execute format('create role %I nologin', role);
    exception when duplicate_object or unique_violation then
      null;  -- the migration of another database was faster
    end;
  end loop;
end $$
