"""Recordings become an index of tracks that can be searched: needs the extra `archive`."""
