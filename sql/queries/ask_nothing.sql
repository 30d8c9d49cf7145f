-- The shortest question there is: how long its answer takes is the way to the server and back.
select true as answered
