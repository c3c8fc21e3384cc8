"""Where data comes from and goes to: of columns, of deliveries, and as OpenLineage events in the lake."""
