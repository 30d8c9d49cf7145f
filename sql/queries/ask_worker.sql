-- Requests that a worker pause, drain or (null) work again. Returns null for an unknown worker.
select case %(request)s::text
  when 'pause' then pgsched.pause_worker(%(worker)s::uuid, %(requested_by)s::text)
  when 'drain' then pgsched.drain_worker(%(worker)s::uuid, %(requested_by)s::text)
  else pgsched.resume_worker(%(worker)s::uuid, %(requested_by)s::text) end as changed
