"""Types, errors and geometry that everything else is made of: numpy only."""
