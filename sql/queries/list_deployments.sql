-- Lists when versions of the code became the newest; those of one version within 10 minutes of each other count as one.
select min(v.since) as at, v.version, array_agg(distinct v.task_type order by v.task_type) as task_types
from (
  select h.*, count(*) filter (where h.begins) over (partition by h.version order by h.since, h.task_type) as place
  from (
    select n.task_type, n.since, n.version,
      n.since - lag(n.since, 1, '-infinity') over (partition by n.version order by n.since, n.task_type)
        > interval '10 minutes' as begins
    from pgsched.handler_versions n
    where n.since >= %(since)s::timestamptz and n.since < %(until)s::timestamptz
      and (%(task_type)s::text is null or n.task_type = %(task_type)s::text)) h) v
group by v.version, v.place
order by 1 desc, 2
limit %(limit)s
