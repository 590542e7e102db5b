"""Integrations with the places and frameworks that people train in: Google Colab and W&B sweeps."""
