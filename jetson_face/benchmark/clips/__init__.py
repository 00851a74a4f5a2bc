"""Labelled clips: made scenes of real faces, with the truth of every frame."""
