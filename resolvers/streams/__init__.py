"""The stream kernel: one source, one log, any number of readers, exactly one end."""
