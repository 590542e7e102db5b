"""The gallery: every kind of message in both languages, as each notifier's readers see it, on pages to look at."""
