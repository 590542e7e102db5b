"""The watchdog: takes in what runs report, finds late runs, and has people told."""
