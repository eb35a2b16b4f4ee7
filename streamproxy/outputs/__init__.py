"""Media for players."""
