-- Which process of the server answers, to compare with the one that let us in: a pooler lets us in by itself.
select pg_backend_pid()
