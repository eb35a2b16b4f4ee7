"""The middle of the pipe: one source, any number of readers."""
