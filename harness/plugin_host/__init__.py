"""Plugins: hook specifications, discovery, and validation of what plugins register."""
