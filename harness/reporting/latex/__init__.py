"""leaderboard.tex: one table of the board for a paper."""
