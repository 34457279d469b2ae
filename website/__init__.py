"""The documentation site: what `mkdocs build` adds to docs/."""
