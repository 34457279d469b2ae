"""Error rates, power and coverage of a board's statistics, by simulation of predictions whose truth is known."""
