"""What runs in the processes of a trial: the handlers, the producer, a wrong clock. Imports little: it starts often."""
