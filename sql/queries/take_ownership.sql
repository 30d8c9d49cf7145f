-- Makes pgsched_owner the owner of the schema and of everything in it, so that functions that run as their owner have
-- its rights rather than a superuser's. The previous owner and the migrating role become members, so no role loses a
-- right.
do $$
declare
  previous name := (select r.rolname from pg_namespace n join pg_roles r on r.oid = n.nspowner
    where n.nspname = 'pgsched');
  new_member name;
  command text;
begin
  foreach new_member in array array[current_user, previous] loop
    if new_member <> 'pgsched_owner' and not pg_has_role(new_member, 'pgsched_owner', 'USAGE') then
      execute format('grant pgsched_owner to %I', new_member);
    end if;
  end loop;
  if previous <> 'pgsched_owner' then
    alter schema pgsched owner to pgsched_owner;
  end if;
  for command in
    -- A sequence follows its table.
    select format('alter table pgsched.%I owner to pgsched_owner', c.relname)
    from pg_class c
    where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p', 'v')
      and c.relowner <> 'pgsched_owner'::regrole
    union all
    -- A domain, or a composite type that is not the row type of a table.
    select format('alter type pgsched.%I owner to pgsched_owner', t.typname)
    from pg_type t
    where t.typnamespace = 'pgsched'::regnamespace and t.typowner <> 'pgsched_owner'::regrole
      and (t.typtype = 'd' or exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
    union all
    select format('alter function %s owner to pgsched_owner', p.oid::regprocedure)
    from pg_proc p
    where p.pronamespace = 'pgsched'::regnamespace and p.proowner <> 'pgsched_owner'::regrole
  loop
    execute command;
  end loop;
end $$
