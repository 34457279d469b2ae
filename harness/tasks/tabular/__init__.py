"""Tasks that suites declare: their files, columns, labels and splits."""
