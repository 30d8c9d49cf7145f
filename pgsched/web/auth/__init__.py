"""Who makes a request, and what they may do: tokens, sessions, roles, requests of other sites, what is hidden."""
