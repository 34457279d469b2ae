"""Metrics, and the computation of predictions and scores from model outputs."""
