"""Turns stored records into numbers: aggregation, statistics, ranking, compatibility checks."""
