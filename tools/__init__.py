"""Programs of this repository: they write generated pages and files, and archive releases for the upgrade tests."""
