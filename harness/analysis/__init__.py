"""From records to numbers: aggregation, statistics, ranking, compatibility checks."""
