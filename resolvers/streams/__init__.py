"""Streams of events. A stream has one source, one log, any number of readers and exactly one end."""
