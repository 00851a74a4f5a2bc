"""Encryption at rest, credentials, and the audit log."""
