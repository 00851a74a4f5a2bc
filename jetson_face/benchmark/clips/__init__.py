"""Labelled clips: made scenes of real faces, with the ground truth of every frame."""
