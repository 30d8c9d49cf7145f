-- The cheapest possible statement: its duration is the round trip to the server.
select true as answered
