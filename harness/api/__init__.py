"""The interfaces that plugins import: methods, tasks, reports and latency backends, and their arguments."""
