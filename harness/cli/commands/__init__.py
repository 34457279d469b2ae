"""Arguments, options and help of every command, one file for each group of commands."""
