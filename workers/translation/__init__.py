"""What the translator family is made of."""
