"""Each module runs one round of one comparison and prints its metrics; all run in a copy of the checkout."""
