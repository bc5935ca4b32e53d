"""What may pass: the data plane of the gateway."""
