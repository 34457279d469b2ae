"""Cached teacher outputs: how they are computed, stored, and read instead of running the teacher."""
