"""Notifiers: where people are told."""
