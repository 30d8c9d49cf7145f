-- Works with programs of version 12 of the schema and later.
--
-- The tasks of a user or an organisation are found at once, however many others there are.

create index if not exists tasks_by_user on pgsched.tasks (user_id, id) where user_id is not null;
comment on index pgsched.tasks_by_user is 'The tasks of a user, in the order of their ids: for lists.';
create index if not exists tasks_by_tenant on pgsched.tasks (tenant_id, id) where tenant_id is not null;
comment on index pgsched.tasks_by_tenant is 'The tasks of an organisation, in the order of their ids: for lists.';
