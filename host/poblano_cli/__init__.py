"""The command ``poblano``."""
