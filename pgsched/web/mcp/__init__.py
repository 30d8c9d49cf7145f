"""The face for agents: tools of the Model Context Protocol, each of which asks the REST API within this process."""
