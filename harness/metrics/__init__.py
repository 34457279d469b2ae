"""Metrics, and the step from model outputs to predictions and scores."""
