"""The durable runs of the trial `durable`: their handlers, who sends them events, and what must be true of them."""
