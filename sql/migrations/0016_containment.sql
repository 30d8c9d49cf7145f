-- Works with programs of version 12 of the schema and later.
--
-- Rows whose claim or outcome the database refuses: what a worker passes over, and tries again by itself.
--
-- Unlogged, as the workers are: what a crash empties, they write again.
create unlogged table pgsched.set_aside (
  worker_id uuid not null,
  task_id bigint not null,
  task_type text not null,
  queue text not null,
  operation text not null
    constraint operation_must_be_claim_or_finish check (operation in ('claim', 'finish')),
  reason text not null,
  tries integer not null,
  since timestamptz not null,
  primary key (worker_id, task_id)
) with (fillfactor = 50);

comment on table pgsched.set_aside is
  'Tasks that a worker could not claim, or whose outcome it could not write: it goes on without them and tries again.';
comment on column pgsched.set_aside.worker_id is 'The worker that set the task aside.';
comment on column pgsched.set_aside.task_id is 'The task; deleted tasks may still be listed for a while.';
comment on column pgsched.set_aside.task_type is 'The handler of the task.';
comment on column pgsched.set_aside.queue is 'The queue of the task.';
comment on column pgsched.set_aside.operation is 'What failed: claim or finish.';
comment on column pgsched.set_aside.reason is 'The message of the database.';
comment on column pgsched.set_aside.tries is 'How often the operation was tried.';
comment on column pgsched.set_aside.since is 'When the operation failed for the first time.';
comment on constraint operation_must_be_claim_or_finish on pgsched.set_aside is
  'These two are done for many rows at once, so that one row could fail the others.';
