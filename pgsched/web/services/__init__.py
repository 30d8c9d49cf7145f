"""What the REST API and the dashboard share: searches, changes with their audit entries, cached values."""
