"""Typed clients for other languages, written from the register of handlers."""
