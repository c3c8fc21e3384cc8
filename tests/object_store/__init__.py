"""A real S3 server for tests: Ceph's object gateway on loopback."""
