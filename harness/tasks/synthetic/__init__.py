"""Generated tasks: no download, and training in seconds."""
