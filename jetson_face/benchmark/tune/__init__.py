"""Finds the operating point: sampling rate, image size and smallest face that meet a goal."""
