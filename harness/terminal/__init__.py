"""What a person, or a machine, sees of a run: progress, tables, events."""
