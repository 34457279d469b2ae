"""Predictions of trained models on files and on test sets."""
