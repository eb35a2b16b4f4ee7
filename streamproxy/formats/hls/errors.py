"""Why an HLS playlist cannot be used. No text here shows a URL, so that each may stand in a log."""


class HlsError(ValueError):
    """The text is no HLS playlist, or one that cannot be used."""


class PlaylistTooLarge(HlsError):
    """The playlist is larger than anybody would write it in good faith."""


class UndefinedVariable(HlsError):
    """The playlist refers to a variable that nobody defined, and so cannot be read (RFC 8216bis, 4.3)."""
