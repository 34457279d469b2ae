"""Generated tasks: they need no download and train in seconds."""
