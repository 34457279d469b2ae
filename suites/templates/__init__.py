"""Parts of suites that commands complete; no suites of their own."""
