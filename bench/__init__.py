"""Benchmarks: time against the limit, as ratios in one run, and peak memory."""
