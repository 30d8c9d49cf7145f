-- The first phase of a group that was claimed: makes its children and lets it wait for them. Null: the claim was lost.
select pgsched.fire_group(%(id)s, %(token)s)
