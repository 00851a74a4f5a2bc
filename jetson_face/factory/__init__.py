"""The only code that turns configuration into objects."""
