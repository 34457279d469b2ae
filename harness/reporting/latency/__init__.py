"""Tables and notes of latency measurements, as latency.md prints them."""
