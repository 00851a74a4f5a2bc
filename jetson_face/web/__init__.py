"""What the running service shows of itself."""
