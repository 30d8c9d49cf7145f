"""What the REST API and the dashboard both do: searches, changes and their audit entries, values shared by requests."""
