-- Works with programs of version 12 of the schema and later.
--
-- Several databases as one system (docs/shards.md): which shard this database is, where its tenants are, and what a move of a
-- tenant needs so that it can be killed at any moment and run again. A database that is no shard has no rows in these tables.

create table pgsched.shards (
  name text constraint shards_pkey primary key,
  is_here boolean not null,
  is_hashed boolean not null,
  changed_at timestamptz not null default clock_timestamp(),
  constraint shard_name_must_have_1_to_40_letters_digits_and_dots check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$')
);
create unique index shard_is_here_once on pgsched.shards (is_here) where is_here;
comment on table pgsched.shards is 'The databases that form one system, this one among them. Empty: this database stands alone.';
comment on column pgsched.shards.name is 'The name of the shard.';
comment on column pgsched.shards.is_here is 'Whether it is this database.';
comment on column pgsched.shards.is_hashed is
  'Whether the hash of a shard key may choose it. A shard that was added later gets only tenants that are moved to it.';
comment on column pgsched.shards.changed_at is
  'When the row was last changed. A move of a tenant changes that of this database, by which older snapshots are noticed.';
comment on constraint shard_name_must_have_1_to_40_letters_digits_and_dots on pgsched.shards is 'It is a part of addresses.';
comment on index pgsched.shard_is_here_once is 'A database is one shard.';

create table pgsched.placements (
  tenant_id text constraint placements_pkey primary key,
  state text not null,
  shard text not null,
  peer text not null,
  version bigint not null,
  changed_at timestamptz not null default clock_timestamp(),
  constraint state_must_be_arriving_here_leaving_or_left check (state in ('arriving', 'here', 'leaving', 'left'))
);
comment on table pgsched.placements is 'The tenants that were moved to this database or from it. All others are where their hash says.';
comment on column pgsched.placements.tenant_id is 'The tenant, as in tasks.tenant_id.';
comment on column pgsched.placements.state is
  'arriving or here: it was moved to this database; leaving or left: it was moved from it, and inserts of its tasks are refused.';
comment on column pgsched.placements.shard is 'Where the tenant is, or moves to: its tasks are inserted there.';
comment on column pgsched.placements.peer is 'The other shard of the last move.';
comment on column pgsched.placements.version is 'The number of the move; of several statements about a tenant the highest counts.';
comment on column pgsched.placements.changed_at is 'When the state last changed.';
comment on constraint state_must_be_arriving_here_leaving_or_left on pgsched.placements is 'The states of a move, on either side.';

create table pgsched.departing_tasks (
  id bigint constraint departing_tasks_pkey primary key,
  tenant_id text not null,
  task jsonb not null
);
create index departing_tasks_tenant on pgsched.departing_tasks (tenant_id, id);
comment on table pgsched.departing_tasks is
  'Tasks that were taken from pgsched.tasks by a move and are not yet known to have arrived: nobody runs them here.';
comment on column pgsched.departing_tasks.id is 'Their id in this database.';
comment on column pgsched.departing_tasks.tenant_id is 'The tenant that is moved.';
comment on column pgsched.departing_tasks.task is 'The row as it was.';
comment on index pgsched.departing_tasks_tenant is 'Those of one move, in order.';

create table pgsched.arrived_tasks (
  shard text,
  id bigint,
  tenant_id text not null,
  task_id bigint,
  idempotency_key text,
  constraint arrived_tasks_pkey primary key (shard, id)
);
create index arrived_tasks_key on pgsched.arrived_tasks (idempotency_key) where idempotency_key is not null;
comment on table pgsched.arrived_tasks is 'Tasks of tenants that were moved to this database: where they were before.';
comment on column pgsched.arrived_tasks.shard is 'The shard that they came from.';
comment on column pgsched.arrived_tasks.id is 'Their id there.';
comment on column pgsched.arrived_tasks.tenant_id is 'Their tenant.';
comment on column pgsched.arrived_tasks.task_id is 'Their id here. Null: the task stayed there, and only its idempotency_key is reserved here.';
comment on column pgsched.arrived_tasks.idempotency_key is 'The key of a task that stayed.';
comment on index pgsched.arrived_tasks_key is 'Reserved keys: an insert with one of them is refused.';

-- Drawn from when this database becomes a shard: until then no insert looks for placements.
create sequence pgsched.shard_changes owned by pgsched.shards.changed_at;
grant select on sequence pgsched.shard_changes to public;

create function pgsched.guard_placement() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Runs for each inserted row with a tenant and without a parent, so it must be cheap: one look into an index.
declare
  at record;
  kept record;
begin
  -- A move waits for the transactions that have a number when it begins. So this one takes its number before it looks: if
  -- it does not see the move, the move sees it.
  perform pg_current_xact_id();
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    -- Its snapshot may be older than a move. The lock fails (40001) if a move has changed the row since.
    perform from pgsched.shards s where s.is_here for share;
  end if;
  select p.state, p.shard, p.peer into at from pgsched.placements p where p.tenant_id = new.tenant_id;
  if not found or current_setting('pgsched.restoring', true) = 'on' then
    return new;
  end if;
  if at.state in ('leaving', 'left') then
    raise object_not_in_prerequisite_state using
      message = format('tenant %s has moved to shard %s', left(new.tenant_id, 100), at.shard),
      hint = 'Insert its tasks there. Clients that read the placements do so.',
      constraint = 'tenant_has_moved', column = 'tenant_id', table = 'tasks', schema = 'pgsched';
  end if;
  if new.idempotency_key is not null then
    if at.state = 'arriving' then
      raise object_not_in_prerequisite_state using
        message = format('tenant %s is moving from shard %s: tasks with an idempotency_key can be inserted when all have arrived',
          left(new.tenant_id, 100), at.peer),
        constraint = 'tenant_is_moving', column = 'tenant_id', table = 'tasks', schema = 'pgsched';
    end if;
    select a.shard, a.id into kept from pgsched.arrived_tasks a
    where a.idempotency_key = new.idempotency_key and a.task_id is null limit 1;
    if found then
      raise object_not_in_prerequisite_state using
        message = format('idempotency_key %s is that of task %s, which stayed in shard %s',
          quote_literal(left(new.idempotency_key, 100)), kept.id, kept.shard),
        constraint = 'key_stayed_behind', column = 'idempotency_key', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
  return new;
end $$;
comment on function pgsched.guard_placement is
  'For the schema: refuses to insert a task of a tenant that was moved to another database, or with a key that is in use there.';

-- After the trigger that resolves defaults, in the order of the names. Ticks, copies and steps stay with their parent.
create trigger refuse_moved before insert on pgsched.tasks
  for each row
  when (new.tenant_id is not null and new.parent_id is null and pg_sequence_last_value('pgsched.shard_changes') is not null)
  execute function pgsched.guard_placement();

revoke execute on function pgsched.guard_placement from public;
