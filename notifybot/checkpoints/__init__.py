"""Checkpoints: written durably, and verified by hash before they are loaded."""
