"""A release built again from what its manifest names, and each of its files held to the hash that stands there."""
