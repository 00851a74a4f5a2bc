"""Channels, files, images, YAML, metrics: what serves every subject and belongs to none."""
