"""What a run shows people: console, annotated pictures and video, the run report."""
