"""The bake-off: every method on the same faces."""
