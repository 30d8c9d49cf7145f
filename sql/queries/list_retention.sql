-- Lists the retention rules that apply to each queue with finished or dead rows, of one queue or of all.
select r.queue, r.dead, r.older_than, r.keep, r.archive
from pgsched.retention_rules() r
where %(queue)s::text is null or r.queue = %(queue)s::text
