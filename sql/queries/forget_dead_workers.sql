-- Workers that died without a word: silent for three leases.
delete from pgsched.workers where heartbeat_at < now() - 3 * lease
