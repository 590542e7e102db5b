"""Checkpoints that are proven whole: written durably, verified before they are loaded."""
