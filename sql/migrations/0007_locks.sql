-- Locks by name, for code that must run in one place only. A row is a lock that somebody holds, or held until its time
-- was over; unlocking deletes it.

-- One sequence for all locks: a name whose row is gone goes on with larger tokens when it is locked again.
create sequence pgsched.lock_tokens as bigint;

create table pgsched.locks (
  name text primary key
    constraint lock_name_must_have_1_to_200_characters check (length(name) between 1 and 200)
    constraint lock_name_must_not_contain_control_characters check (name !~ '[[:cntrl:]]'),
  owner uuid not null,
  holder text
    constraint lock_holder_must_have_at_most_500_characters check (length(holder) <= 500),
  fencing_token bigint not null,
  locked_until timestamptz not null,
  acquired_at timestamptz not null default now()
) with (fillfactor = 50);
alter sequence pgsched.lock_tokens owned by pgsched.locks.fencing_token;

comment on table pgsched.locks is 'Locks by name: one row for each that is held.';
comment on column pgsched.locks.name is 'What is locked.';
comment on column pgsched.locks.owner is 'Who has it: an id that the owner made up for this one acquisition.';
comment on column pgsched.locks.holder is 'Who has it, for people: host and process.';
comment on column pgsched.locks.fencing_token is 'Grows with every acquisition and never goes back.';
comment on column pgsched.locks.locked_until is 'When the lock ends; past it anybody may take it.';
comment on column pgsched.locks.acquired_at is 'When it was taken.';

create function pgsched.refuse_lock(name text, owner uuid, ttl interval) returns void
language plpgsql as $$
begin
  if name is null or length(name) not between 1 and 200 then
    raise invalid_parameter_value using
      message = format('lock name must have 1 to 200 characters, got %s', coalesce(length(name)::text, 'null'));
  end if;
  if name ~ '[[:cntrl:]]' then
    raise invalid_parameter_value using
      message = format('lock name must not contain control characters, got %s', to_jsonb(name));
  end if;
  if owner is null then
    raise invalid_parameter_value using message = format('lock %L: owner must be a uuid, got null', name);
  end if;
  if ttl is null or ttl not between interval '1 second' and interval '1 day' then
    raise invalid_parameter_value using
      message = format('lock %L: ttl must be between 1 second and 1 day, got %s', name, coalesce(ttl::text, 'null'));
  end if;
end $$;

create function pgsched.lock(name text, owner uuid, ttl interval default '30 seconds', holder text default null)
returns bigint
language plpgsql as $$
declare
  held pgsched.locks;
  token bigint;
  ends timestamptz;
begin
  perform pgsched.refuse_lock(lock.name, lock.owner, lock.ttl);
  -- One acquisition of a name at a time, so that a token that is drawn later is written later. Whoever comes meanwhile
  -- does not wait: it is as if the lock were held, and soon it will be.
  if not pg_try_advisory_xact_lock(hashtextextended('pgsched.lock ' || lock.name, 0)) then
    return null;
  end if;
  select * into held from pgsched.locks l where l.name = lock.name;
  if held.locked_until > clock_timestamp() then
    if held.owner <> lock.owner then
      return null;
    end if;
    -- Its own already: the answer to the first call was lost.
    token := held.fencing_token;
  else
    token := nextval('pgsched.lock_tokens');
  end if;
  ends := clock_timestamp() + make_interval(secs => extract(epoch from lock.ttl));
  insert into pgsched.locks as l (name, owner, holder, fencing_token, locked_until, acquired_at)
  values (lock.name, lock.owner, lock.holder, token, ends, clock_timestamp())
  on conflict on constraint locks_pkey do update
  set owner = excluded.owner, holder = excluded.holder, fencing_token = excluded.fencing_token,
    locked_until = excluded.locked_until,
    acquired_at = case when l.fencing_token = excluded.fencing_token then l.acquired_at else excluded.acquired_at end
  -- A renewal may have been on its way when the row was read.
  where l.locked_until <= clock_timestamp() or l.owner = excluded.owner
  returning l.fencing_token into token;
  return token;
end $$;
comment on function pgsched.lock is
  'Takes a lock for an owner and returns its fencing token, or null while another owner has it. Renew it before ttl is over; call it outside a longer transaction.';

create function pgsched.renew_lock(name text, owner uuid, ttl interval default '30 seconds') returns boolean
language plpgsql as $$
begin
  perform pgsched.refuse_lock(renew_lock.name, renew_lock.owner, renew_lock.ttl);
  update pgsched.locks l
  set locked_until = clock_timestamp() + make_interval(secs => extract(epoch from renew_lock.ttl))
  where l.name = renew_lock.name and l.owner = renew_lock.owner and l.locked_until > clock_timestamp();
  return found;
end $$;
comment on function pgsched.renew_lock is
  'Keeps a lock for ttl from now on. False: it was lost, because its time was over or somebody broke it.';

create function pgsched.unlock(name text, owner uuid) returns boolean
language plpgsql as $$
declare
  was_held boolean;
begin
  delete from pgsched.locks l where l.name = unlock.name and l.owner = unlock.owner
  returning l.locked_until > clock_timestamp() into was_held;
  return coalesce(was_held, false);
end $$;
comment on function pgsched.unlock is 'Gives a lock back. False: the owner did not have it any more.';
