-- Works with programs of version 12 of the schema and later.
--
-- Sessions of the web face that were ended by a logout: every process of it that serves this database refuses their cookies.

create table pgsched.revoked_sessions (
  id text primary key,
  ends_at timestamptz not null,
  revoked_at timestamptz not null default clock_timestamp(),
  constraint revoked_session_id_must_have_20_to_64_characters check (length(id) between 20 and 64)
);
alter table pgsched.revoked_sessions replica identity full;
comment on table pgsched.revoked_sessions is
  'Sessions of the web face that were logged out before they ended: their cookies open nothing any more.';
comment on constraint revoked_session_id_must_have_20_to_64_characters on pgsched.revoked_sessions is 'It is random.';
comment on column pgsched.revoked_sessions.id is 'The id in the cookie. It opens nothing without the signature.';
comment on column pgsched.revoked_sessions.ends_at is 'When the session would have ended by itself; the row is deleted later.';
comment on column pgsched.revoked_sessions.revoked_at is 'When it was logged out.';
create index revoked_sessions_time on pgsched.revoked_sessions (revoked_at);
comment on index pgsched.revoked_sessions_time is 'What was logged out since a moment.';

create function pgsched.revoke_session(id text, ends_at timestamptz) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A row of its own for each session, whoever is logged in: the role of a dashboard that only looks has no right on the table.
begin
  if ends_at > now() + interval '31 days' then
    raise invalid_parameter_value using message = format('ends_at must be within 31 days, got %s', ends_at);
  end if;
  delete from pgsched.revoked_sessions s where s.ends_at < now() - interval '1 minute';
  insert into pgsched.revoked_sessions (id, ends_at) values (id, ends_at) on conflict do nothing;
end $$;
revoke execute on function pgsched.revoke_session from public;
comment on function pgsched.revoke_session is
  'For the web face: ends a session in all its processes, and forgets those that have ended by themselves.';
