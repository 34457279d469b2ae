"""What lockstep cohorts and kept teacher tensors are worth, measured: see README.md beside this file."""
