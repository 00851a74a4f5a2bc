"""Training of the face embedding (extra ``train``); nothing outside this package imports torch."""
