"""A program's first moment: run as a script, this becomes the program, which then dies with its parent.

A child can ask for that only itself (PR_SET_PDEATHSIG), between fork and exec. There, in a process with threads, Python
code may meet a lock that nobody will ever release; so a fresh interpreter does it, in 10 ms. It imports nothing of this
package.
"""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(report: int, parent: int, nice: int, command: list[str]) -> None:
    """Become a program.

    Args:
        report: The descriptor to which the number of the error is written if that fails; it is closed if not.
        parent: The id of the process to die with.
        nice: How much to stand back for other processes.
        command: The program, and what it is told.
    """
    os.set_inheritable(report, False)
    # A stopped process does not escape it; one that gains privileges by its exec does.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return
    # Where that is not allowed, it is no reason not to run.
    with contextlib.suppress(OSError):
        os.nice(nice)
    # Python ignores these, and a program inherits that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell, on purpose
    except OSError as error:
        os.write(report, str(error.errno).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
