"""Executes a plan: text stages, augmented data, teachers, cohorts of students and tuning."""
