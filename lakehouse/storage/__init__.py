"""The lake: one interface over a local directory and S3, and the index of what stands in it."""
