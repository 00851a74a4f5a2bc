"""The control socket: what the operator's page and other programs may ask and change."""
