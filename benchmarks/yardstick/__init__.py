"""The scenarios of hardbyte/postgresql-job-queue-benchmarking, without docker: see docs/benchmarks.md."""
