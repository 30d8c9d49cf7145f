-- Sets the state of a tenant's move on one side. The row of this database changes too, by which transactions with an
-- older snapshot notice the move (pgsched.guard_placement). A newer version is not overwritten.
with marked as (
  update pgsched.shards set changed_at = clock_timestamp() where is_here
)
insert into pgsched.placements as p (tenant_id, state, shard, peer, version)
values (%(tenant_id)s, %(state)s, %(shard)s, %(peer)s, %(version)s)
on conflict (tenant_id) do update set state = excluded.state, shard = excluded.shard, peer = excluded.peer,
  version = excluded.version, changed_at = clock_timestamp()
where p.version < excluded.version
  or p.version = excluded.version and p.shard = excluded.shard and p.state = %(from_state)s
returning p.tenant_id
