"""Where decisions go: console, files, pictures, the durable outbox and the network."""
