"""The watchdog: takes in what runs report, finds late runs, and sends messages about them."""
