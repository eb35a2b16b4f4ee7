"""What goes wrong while talking to a proxy, each with the exit code of the command it ends."""

import click


class Refused(click.ClickException):
    """The server did not do what it was asked to.

    Attributes:
        status: The status it answered with.
    """

    exit_code = 1

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(click.ClickException):
    """There is no connection, or it broke before the answer was complete."""

    exit_code = 69
    """EX_UNAVAILABLE of sysexits.h."""


class NotAllowed(click.ClickException):
    """The token is missing or wrong, or this machine may not do that."""

    exit_code = 77
    """EX_NOPERM of sysexits.h."""
