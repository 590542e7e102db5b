"""The store: one SQLite file, and one schema for the training process and the watchdog."""
