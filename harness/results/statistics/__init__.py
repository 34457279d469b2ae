"""Intervals, comparisons and groups: of numbers alone, whatever board they are for."""
