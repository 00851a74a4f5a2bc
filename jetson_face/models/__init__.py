"""Model cards: what a network is, and where its file comes from."""
