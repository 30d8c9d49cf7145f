"""One command per module, as Django requires."""
