"""Logs, traces, metric registries and service manager notifications."""
