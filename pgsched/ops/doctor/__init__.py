"""What is wrong with a queue and its database: facts are read, judged one by one, and become findings."""
