"""One module per side: each runs one round in a separate process and prints its measurements as JSON."""
