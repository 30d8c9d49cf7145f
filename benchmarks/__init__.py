"""Benchmarks: ours and the other side in turns, on one server, several rounds, medians."""
