"""Poblano."""
