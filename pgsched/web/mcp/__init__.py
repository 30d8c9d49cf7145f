"""The interface for agents: tools of the Model Context Protocol; each calls the REST API within this process."""
