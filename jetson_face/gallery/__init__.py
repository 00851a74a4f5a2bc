"""People who are enrolled: where they are kept, how they are added, how a probe is compared."""
