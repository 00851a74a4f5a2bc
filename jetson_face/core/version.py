"""The product's version: `setup.py` reads it here, everything else imports it from here."""

__version__ = "0.1.0"
