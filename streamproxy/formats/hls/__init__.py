"""HLS playlists: rewriting them line by line, and understanding them."""
