"""A simulated city: deliveries in the form, and with the quirks, of the real ones."""
