"""The watchdog's HTTP side: the API that processes report to, and the pages that people look at."""
