"""The lockstep loop: one batch, each teacher once, then every student of the cohort."""

VERSION = 1
"""Of the training code. Raise it when a change alters results: it is part of every key, so old results are redone."""
