"""The demonstration: studies made on the spot, a real S3 server, an analysis service, the runner."""
