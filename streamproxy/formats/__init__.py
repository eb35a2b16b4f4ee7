"""What lists, playlists and streams are made of: sans-IO, bytes and text in, values out."""
