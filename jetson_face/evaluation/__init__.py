"""Measuring: verification, open-set identification, video, sensitivity, and their reports."""
