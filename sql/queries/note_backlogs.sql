-- Records the number of due tasks of each queue, once a minute, by whichever worker is first; and deletes records older
-- than two hours. Counts up to %(cap)s rows of a queue by the claim's index, and estimates the rest.
with gone as (
  delete from pgsched.backlogs b where b.at < now() - interval '2 hours'
)
insert into pgsched.backlogs (queue, at, due, exact, oldest_due_at)
select n.name, date_trunc('minute', now()),
  case when due.number < %(cap)s then due.number else greatest(due.number, pgsched.about_rows(
    format('t.next_run_at <= now() and t.enabled and t.queue = %%L', n.name))) end,
  due.number < %(cap)s, oldest.at
from pgsched.queues_in_use() as n(name)
cross join lateral (
  select count(*) as number
  from (
    select r.one
    from generate_series(10, 1, -1) as p(priority)
    cross join lateral (
      select 1 as one
      from pgsched.tasks t
      where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now()
      limit %(cap)s
    ) r
    limit %(cap)s
  ) c
) due
cross join lateral (
  select min(first.next_run_at) as at
  from generate_series(1, 10) as p(priority)
  cross join lateral (
    select t.next_run_at
    from pgsched.tasks t
    where t.queue = n.name and t.priority = p.priority and pgsched.is_claimable(t)
    order by t.next_run_at, t.id
    limit 1
  ) first
) oldest
where not exists (select from pgsched.backlogs b where b.queue = n.name and b.at > now() - interval '50 seconds')
on conflict on constraint backlogs_pkey do nothing
