"""Which face is it: aligned crops in, unit vectors out."""
