"""Authentication and authorization: tokens, sessions, roles, cross-site requests, hidden fields."""
