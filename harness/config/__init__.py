"""The suite file: schema, YAML with line numbers, includes, overrides and error messages."""
