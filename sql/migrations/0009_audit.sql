-- Who changed what by hand, through the web: one row for each change, in the change's own transaction.
create table pgsched.audit_log (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  role text not null
    constraint audit_role_must_be_viewer_or_operator check (role in ('viewer', 'operator')),
  remote text,
  action text not null
    constraint audit_action_must_have_1_to_100_characters check (length(action) between 1 and 100),
  task_id bigint,
  queue text,
  target text,
  before jsonb,
  after jsonb
);
create index audit_log_by_task on pgsched.audit_log (task_id, id) where task_id is not null;

comment on table pgsched.audit_log is 'What people and programs changed through the web, and who they were.';
comment on column pgsched.audit_log.at is 'When.';
comment on column pgsched.audit_log.actor is 'The name given at login, else the role; local when no tokens are set.';
comment on column pgsched.audit_log.role is 'viewer or operator: which token was used.';
comment on column pgsched.audit_log.remote is 'The address that the request came from.';
comment on column pgsched.audit_log.action is 'What was done, as task.cancel or queue.pause.';
comment on column pgsched.audit_log.task_id is 'To which task; it may be deleted by now.';
comment on column pgsched.audit_log.queue is 'To which queue.';
comment on column pgsched.audit_log.target is 'To what else, in words.';
comment on column pgsched.audit_log.before is 'What was changed, as it was; never a payload.';
comment on column pgsched.audit_log.after is 'What was changed, as it became; never a payload.';
