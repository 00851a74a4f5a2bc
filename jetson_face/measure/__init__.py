"""Runs a recogniser over a clip and says how fast and how right it was."""
