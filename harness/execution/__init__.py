"""Executes a plan: teachers, text stages, cohorts, tuning."""
