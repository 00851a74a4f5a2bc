"""Doubtful faces, queued until a person decides who they are."""
