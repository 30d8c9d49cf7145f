-- Works with programs of version 12 of the schema and later.
--
-- The tick of a schedule that is a task of its own knows its number: execution_count is what its schedule had finished before.
create or replace function pgsched.guard_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses a row that says of itself what only a run of it can say. Three may: the tick of a schedule that the finish of its
-- parent inserts, which has its number; one that is dead; and any row in a session that restores rows as they were.
declare
  child boolean := exists (select from pgsched.tasks p where p.id = new.parent_id);
  buried boolean := child and new.status = 'dead' and new.died_at is not null;
  named text;
  value text;
begin
  if current_setting('pgsched.restoring', true) = 'on' then
    return new;
  end if;
  select g.named, g.value into named, value
  from (values
    ('status', new.status::text, new.status <> 'pending' and not buried),
    ('attempts', new.attempts::text, new.attempts <> 0 and not buried),
    ('died_at', new.died_at::text, new.died_at is not null and not buried),
    ('last_run_at', new.last_run_at::text, new.last_run_at is not null and not buried),
    ('last_error', left(new.last_error, 100), new.last_error is not null and not buried),
    ('completed_at', new.completed_at::text, new.completed_at is not null),
    ('started_at', new.started_at::text, new.started_at is not null),
    ('locked_by', new.locked_by::text, new.locked_by is not null),
    ('locked_until', new.locked_until::text, new.locked_until is not null),
    ('fencing_token', new.fencing_token::text, new.fencing_token <> 0),
    ('execution_count', new.execution_count::text, new.execution_count <> 0 and not child),
    ('revision', new.revision::text, new.revision <> 0),
    ('unbegun_token', new.unbegun_token::text, new.unbegun_token is not null),
    ('waiting_for', new.waiting_for::text, new.waiting_for <> 0),
    ('fired', left(new.fired::text, 100), new.fired is not null),
    ('progress', left(new.progress::text, 100), new.progress is not null),
    ('result', left(new.result::text, 100), new.result is not null)
  ) as g(named, value, foreign_value)
  where g.foreign_value
  limit 1;
  if named is not null then
    raise invalid_parameter_value using
      message = format('%s is set by pgsched and must be left out of an INSERT, got %s', named, value),
      hint = 'A new task is pending, and blocked when depends_on names tasks. To restore rows as they were: set pgsched.restoring = on.',
      column = named, table = 'tasks', schema = 'pgsched';
  end if;
  return new;
end $$;
