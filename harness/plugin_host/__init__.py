"""Hook specifications, plugin discovery, and the host that validates and holds what plugins register."""
