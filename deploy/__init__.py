"""Ways to run imagemill."""
