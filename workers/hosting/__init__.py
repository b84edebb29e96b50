"""What hosted models need."""
