"""Stores streams that all replicas can read, continue and cancel."""
