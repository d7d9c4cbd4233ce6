"""What all packages stand on: configuration, errors, logging, devices, weights, and readers of published formats."""
