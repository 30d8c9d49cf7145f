-- Works with programs of version 12 of the schema and later.
--
-- What keeps a worker from its work, or soon may, as its heartbeat tells it: seen from anywhere.
alter table pgsched.workers
  add column troubles jsonb not null default '[]'
    constraint troubles_must_be_an_array check (jsonb_typeof(troubles) = 'array');

comment on column pgsched.workers.troubles is
  'What is wrong in it, as of the last heartbeat: objects of kind, object, since, stops and detail. Empty: nothing, or a program that does not tell.';
comment on column pgsched.workers.running is
  'How many of its slots are occupied, as of the last heartbeat; also by what has overstayed its timeout and cannot be stopped.';
comment on constraint troubles_must_be_an_array on pgsched.workers is
  'Each element is one trouble.';

-- Most looks are quick ones, at what presses: the worker with the turn learns whether a complete one is due.
alter table pgsched.watchdog add column complete_at timestamptz;
comment on column pgsched.watchdog.complete_at is 'When a worker last looked at everything; in between they look at what presses.';
