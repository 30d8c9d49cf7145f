"""Programs of this repository: they write generated pages and files, and keep what a release leaves behind."""
