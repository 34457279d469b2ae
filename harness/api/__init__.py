"""What plugins import: the interfaces of methods, tasks, reports and latency backends, and what they are given."""
