"""One attempt of a handler, without a database: its context, where it runs, and how it ended."""
