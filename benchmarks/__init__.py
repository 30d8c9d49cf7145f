"""Benchmarks: pgsched and another side alternate on one server, for several rounds; medians count."""
