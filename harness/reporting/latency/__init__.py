"""latency.md: tables and facts of latency measurements."""
