-- Works with programs of version 12 of the schema and later.
--
-- Searches with a name, changes to many tasks that go on in the background, and which tasks an entry of the audit log is about
-- when there are several.

create table pgsched.saved_views (
  name text constraint saved_views_pkey primary key,
  query text not null,
  saved_by text not null,
  saved_at timestamptz not null default clock_timestamp(),
  constraint view_name_must_be_a_word_of_lower_case check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  constraint view_query_must_have_1_to_2000_characters check (length(query) between 1 and 2000)
);
comment on table pgsched.saved_views is 'Searches of tasks that have a name, for all who look at this database.';
comment on column pgsched.saved_views.name is 'What it is called, in the dashboard and in its address.';
comment on column pgsched.saved_views.query is 'Terms of the search language; times as how long ago stay so.';
comment on column pgsched.saved_views.saved_by is 'Who saved it last.';
comment on column pgsched.saved_views.saved_at is 'When that was.';
comment on constraint view_name_must_be_a_word_of_lower_case on pgsched.saved_views is 'It is a part of an address.';
comment on constraint view_query_must_have_1_to_2000_characters on pgsched.saved_views is 'As a query may have.';

create table pgsched.bulk_changes (
  id bigint generated always as identity constraint bulk_changes_pkey primary key,
  action text not null,
  filter jsonb not null,
  described text not null,
  status text not null default 'waiting',
  actor text not null,
  role text not null,
  remote text,
  created_at timestamptz not null default clock_timestamp(),
  starts_at timestamptz not null,
  ended_at timestamptz,
  expected bigint,
  before_id bigint,
  looked_at bigint not null default 0,
  changed bigint not null default 0,
  unsuited bigint[] not null default '{}',
  error text,
  runner uuid,
  leased_until timestamptz,
  constraint bulk_action_must_be_known check (action in ('enable', 'disable', 'run', 'cancel', 'retry', 'delete')),
  constraint bulk_status_must_be_known check (status in ('waiting', 'running', 'undone', 'stopped', 'failed', 'done'))
);
comment on table pgsched.bulk_changes is
  'Changes to all tasks that fit a filter, made in batches by a dashboard: each batch, its entries in the audit log and how far the '
  'change is are one transaction.';
comment on column pgsched.bulk_changes.id is 'Given by the database.';
comment on column pgsched.bulk_changes.action is 'What is done to each task: enable, disable, run, cancel, retry or delete.';
comment on column pgsched.bulk_changes.filter is
  'Which tasks: filters by their names, with times as they were when the change was asked for.';
comment on column pgsched.bulk_changes.described is 'The filter as terms of the search language.';
comment on column pgsched.bulk_changes.status is
  'waiting (it can be undone), running, undone (nothing was changed), stopped, failed, or done.';
comment on column pgsched.bulk_changes.actor is 'Who asked for it, as in the audit log.';
comment on column pgsched.bulk_changes.role is 'By which token.';
comment on column pgsched.bulk_changes.remote is 'From which address.';
comment on column pgsched.bulk_changes.created_at is 'When it was asked for.';
comment on column pgsched.bulk_changes.starts_at is 'When it begins, unless it is undone before.';
comment on column pgsched.bulk_changes.ended_at is 'When it was over: done, undone, stopped or failed.';
comment on column pgsched.bulk_changes.expected is 'Number of tasks that fitted when it was asked for. Null: too many to count.';
comment on column pgsched.bulk_changes.before_id is 'Tasks with this id or a higher one have been looked at. Null: none has.';
comment on column pgsched.bulk_changes.looked_at is 'Number of tasks that fitted so far.';
comment on column pgsched.bulk_changes.changed is 'Number of them that were changed; the action did not suit the others.';
comment on column pgsched.bulk_changes.unsuited is 'The first 100 tasks that fitted and stayed as they were.';
comment on column pgsched.bulk_changes.error is 'Why it failed.';
comment on column pgsched.bulk_changes.runner is 'The dashboard that makes it.';
comment on column pgsched.bulk_changes.leased_until is 'Another dashboard goes on with it after this time.';
comment on constraint bulk_action_must_be_known on pgsched.bulk_changes is 'What change_tasks does.';
comment on constraint bulk_status_must_be_known on pgsched.bulk_changes is 'One of six words.';
create index bulk_changes_open on pgsched.bulk_changes (id) where status in ('waiting', 'running');
comment on index pgsched.bulk_changes_open is 'What is to be made.';

alter table pgsched.audit_log add column task_ids bigint[];
comment on column pgsched.audit_log.task_ids is 'The tasks that a change to many was made to; one in batches has an entry for each.';
create index audit_log_by_tasks on pgsched.audit_log using gin (task_ids) with (fastupdate = off) where task_ids is not null;
comment on index pgsched.audit_log_by_tasks is 'The changes to many that were made to a task, too.';
