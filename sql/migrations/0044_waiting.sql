-- Works with programs of version 12 of the schema and later.
--
-- Why a task waits: who paused its queue, what workers say of their code and of their state, requests to workers to
-- pause or drain, and how the backlog of each queue has developed. All columns may be left out by earlier programs.

alter table pgsched.queues
  add column paused_at timestamptz,
  add column paused_by text;
comment on column pgsched.queues.paused_at is 'When the queue was paused. Null: it is not, or it was before this column came.';
comment on column pgsched.queues.paused_by is
  'Who paused it: the name given with the request, else the database role.';

create function pgsched.note_paused() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if not new.paused then
    new.paused_at := null;
    new.paused_by := null;
  elsif tg_op = 'INSERT' or not old.paused then
    new.paused_at := now();
    new.paused_by := coalesce(new.paused_by, session_user);
  end if;
  return new;
end $$;
comment on function pgsched.note_paused is 'For the schema: notes when a queue is paused, and by whom.';
revoke execute on function pgsched.note_paused from public;
create trigger note_paused before insert or update of paused on pgsched.queues
  for each row execute function pgsched.note_paused();
comment on trigger note_paused on pgsched.queues is 'Notes when a queue is paused, and by whom.';

alter table pgsched.workers
  add column pgsched_version text,
  add column code_version text,
  add column state text,
  add column request text,
  add column requested_by text,
  add column requested_at timestamptz;
alter table pgsched.workers
  add constraint state_must_be_active_paused_or_draining check (state in ('active', 'paused', 'draining')),
  add constraint request_must_be_pause_or_drain check (request in ('pause', 'drain'));
comment on column pgsched.workers.pgsched_version is 'The version of pgsched that it runs. Null: one that does not tell.';
comment on column pgsched.workers.code_version is 'The version of the application, as App(version=…) names it.';
comment on column pgsched.workers.state is
  'active, paused (it claims nothing) or draining (it ends when its tasks have), as of the last heartbeat. Null: a program that takes no requests.';
comment on column pgsched.workers.request is
  'What it was asked to do: pause or drain. Null: to work.';
comment on column pgsched.workers.requested_by is 'Who asked: the name given with the request, else the database role.';
comment on column pgsched.workers.requested_at is 'When.';
comment on constraint state_must_be_active_paused_or_draining on pgsched.workers is 'One of the three states.';
comment on constraint request_must_be_pause_or_drain on pgsched.workers is 'One of the two requests.';

create function pgsched.ask_worker(worker uuid, request text, requested_by text default null) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  found_worker pgsched.workers;
begin
  select * into found_worker from pgsched.workers w where w.id = worker;
  if not found then
    return null;
  end if;
  if found_worker.state is null then
    raise object_not_in_prerequisite_state using
      message = format('worker %s takes no requests: it runs an older version of pgsched', worker);
  end if;
  if found_worker.request is not distinct from request then
    return false;
  end if;
  update pgsched.workers w
  set request = ask_worker.request,
    requested_by = case when ask_worker.request is not null then coalesce(ask_worker.requested_by, session_user) end,
    requested_at = case when ask_worker.request is not null then now() end
  where w.id = worker;
  perform pg_notify('pgsched_workers', worker::text);
  return true;
end $$;
comment on function pgsched.ask_worker is
  'For the schema: asks a worker to pause or drain; null: to work. True if that was not asked already, null if no such worker is registered.';

create function pgsched.pause_worker(worker uuid, requested_by text default null) returns boolean
language sql as $$ select pgsched.ask_worker(worker, 'pause', requested_by) $$;
comment on function pgsched.pause_worker is
  'Asks a worker to claim nothing more until it is resumed; what it has is run. True if that was not asked already, null if no such worker is registered.
worker: Its id in pgsched.workers.
requested_by: Who asks, for people; the database role when left out.';

create function pgsched.drain_worker(worker uuid, requested_by text default null) returns boolean
language sql as $$ select pgsched.ask_worker(worker, 'drain', requested_by) $$;
comment on function pgsched.drain_worker is
  'Asks a worker to claim nothing more, finish what it has, and exit with code 0. True if that was not asked already, null if no such worker is registered.
worker: Its id in pgsched.workers.
requested_by: Who asks, for people; the database role when left out.';

create function pgsched.resume_worker(worker uuid, requested_by text default null) returns boolean
language sql as $$ select pgsched.ask_worker(worker, null, requested_by) $$;
comment on function pgsched.resume_worker is
  'Lets a worker that was paused, or drains and has not ended, claim again. True if it was, null if no such worker is registered.
worker: Its id in pgsched.workers.
requested_by: Who asks, for people.';
revoke execute on function pgsched.ask_worker, pgsched.pause_worker, pgsched.drain_worker, pgsched.resume_worker
  from public;

create table pgsched.backlogs (
  queue text not null,
  at timestamptz not null,
  due bigint not null,
  exact boolean not null,
  oldest_due_at timestamptz,
  constraint backlogs_pkey primary key (queue, at)
);
comment on table pgsched.backlogs is
  'How many tasks of each queue were due, minute by minute, for the last two hours. Written by workers; the forecast of when a backlog is drained is made from it.';
comment on column pgsched.backlogs.queue is 'The queue.';
comment on column pgsched.backlogs.at is 'When it was counted.';
comment on column pgsched.backlogs.due is 'How many tasks were due, those that ran included.';
comment on column pgsched.backlogs.exact is 'False: they are many, and were estimated.';
comment on column pgsched.backlogs.oldest_due_at is 'Since when the first of them that did not run was due.';

create index set_aside_task on pgsched.set_aside (task_id);
comment on index pgsched.set_aside_task is 'Whether a task is set aside.';
