"""The suite file: schema, YAML with positions, includes, overrides, diagnostics."""
