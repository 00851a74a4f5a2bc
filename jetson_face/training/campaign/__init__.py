"""A long, resumable training towards teachers that see the same changed crop; CPU or GPU."""
