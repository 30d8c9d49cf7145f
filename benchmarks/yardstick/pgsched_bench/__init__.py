"""Our adapter in the form that the project expects; a folder to copy."""
