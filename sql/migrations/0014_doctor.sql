-- Works with programs of version 12 of the schema and later.
-- The watchdog: one worker at a time looks what is wrong, and tells all of them.
--
-- Unlogged, as the workers are: what a crash empties, the next look writes again.
create unlogged table pgsched.watchdog (
  only_row boolean primary key default true
    constraint watchdog_must_have_one_row check (only_row),
  looked_at timestamptz not null,
  worker_id uuid,
  findings jsonb not null default '[]'
) with (fillfactor = 50);

comment on table pgsched.watchdog is 'What the workers last found to be wrong: one row.';
comment on column pgsched.watchdog.only_row is 'There is no other row.';
comment on column pgsched.watchdog.looked_at is 'When a worker last began to look.';
comment on column pgsched.watchdog.worker_id is 'Which worker that was.';
comment on column pgsched.watchdog.findings is 'What it found, as pgsched doctor --json has it.';
