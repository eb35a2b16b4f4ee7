"""Lists of channels: fetched once, merged, and served from memory."""
