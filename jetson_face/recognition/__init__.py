"""One frame in, one report out: detection interval, tracks, fusion, decision."""
