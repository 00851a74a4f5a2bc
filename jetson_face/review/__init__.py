"""Doubtful faces, kept until a person decides who they are."""
