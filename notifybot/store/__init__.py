"""The store: one database schema for the training process (SQLite) and the watchdog (SQLite or PostgreSQL)."""
