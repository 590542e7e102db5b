"""Notifiers: the services that carry messages to people."""
