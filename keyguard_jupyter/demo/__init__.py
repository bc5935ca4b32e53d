"""A stand-in provider and a small course, so that everything runs without a key and without a network."""
