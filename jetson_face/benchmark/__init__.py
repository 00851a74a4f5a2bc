"""Benchmarks: sweeps of method, clip, image size and sampling rate, and what changed since."""
