"""The operator's page and the HTTP API: a process of its own, without camera, GPU or key."""
