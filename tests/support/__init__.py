"""Real parts for the tests: gateways, providers, kernels."""
