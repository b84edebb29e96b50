"""What the diffuser family is made of."""
