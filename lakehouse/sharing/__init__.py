"""The doors: how published releases leave the exchange, and who may take what."""
