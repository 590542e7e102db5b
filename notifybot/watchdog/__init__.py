"""The watchdog: who is late, who may say so, and who is told."""
