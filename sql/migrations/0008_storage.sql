-- How the table of tasks is kept clean, chosen by `python -m tests.bench.storage`.
--
-- A claim that begins at the front walks over the index entries of rows that are finished and not vacuumed yet: 33 ms over
-- 20,000 of them the first time, 330 ms over 500,000. The server's own fifth of the table would let a million gather in one
-- of five million rows. To vacuum after a hundredth cost a steady load nothing that could be measured.
alter table pgsched.tasks set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000);
