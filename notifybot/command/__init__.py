"""`notifybot run -- CMD`: any command as a run, with its output, signals and exit code left as they are."""
