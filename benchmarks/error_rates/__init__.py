"""Simulates error rates, power and coverage of the statistics of a board, with known true scores."""
