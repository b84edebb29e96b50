"""Training of the panorama's networks, its data, and its evaluation."""
