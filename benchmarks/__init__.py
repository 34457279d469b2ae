"""Benchmarks of cohorts and cached teacher outputs: see README.md in this folder."""
