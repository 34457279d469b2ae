"""The interfaces that plugins import: methods, tasks, reports and latency backends, and their arguments."""

API_VERSION = "1"
"""The version of these interfaces, which a plugin may state: ``harness_api = "1"``. It is raised by a change with which
plugins written for the version before it no longer work."""
