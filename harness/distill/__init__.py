"""`harness distill`: from a teacher and a data file to a small model, with suites that it writes."""
