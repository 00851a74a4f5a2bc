"""Named arrays in, named arrays out."""
