"""Which threshold: how often a person who is not enrolled gets a name."""
