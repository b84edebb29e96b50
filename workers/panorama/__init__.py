"""How pictures of any size go into the panorama's network, and how its result comes out."""
