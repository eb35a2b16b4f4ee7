"""Run as a script: become a program that may make no other system calls than those named, and no new code.

That is what `SystemCallFilter=` and `MemoryDenyWriteExecute=` of systemd.exec(5) do, by the same library and without
systemd: sandbox.py NAME... -- COMMAND...
"""

import ctypes
import os
import sys

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | 1
"""With EPERM."""
_MASKED_EQUAL = 7
_WRITE, _EXECUTE, _EXECUTE_SHARED = 2, 4, 0o100000
_NEW_CODE = (
    ("mmap", 2, _WRITE | _EXECUTE),
    ("mprotect", 2, _EXECUTE),
    ("pkey_mprotect", 2, _EXECUTE),
    ("shmat", 2, _EXECUTE_SHARED),
)
"""System call, number of its argument, and the bits of it that are not allowed together."""


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp (seccomp_rule_add(3))."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def library() -> ctypes.CDLL | None:
    """Load libseccomp; None where it is not installed."""
    try:
        loaded = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    loaded.seccomp_init.restype = ctypes.c_void_p
    return loaded


def main(names: list[str], command: list[str]) -> None:
    """Become a program.

    Args:
        names: Of the system calls that it may make; those that this machine does not have are ignored.
        command: The program, and what it is told.
    """
    seccomp = library()
    assert seccomp
    only_these = ctypes.c_void_p(seccomp.seccomp_init(_REFUSE))
    for name in names:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert seccomp.seccomp_rule_add_array(only_these, _ALLOW, number, 0, None) == 0
    no_new_code = ctypes.c_void_p(seccomp.seccomp_init(_ALLOW))
    for name, argument, bits in _NEW_CODE:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        comparison = ctypes.byref(_Comparison(argument, _MASKED_EQUAL, bits, bits))
        assert seccomp.seccomp_rule_add_array(no_new_code, _REFUSE, number, 1, comparison) == 0
    for each in (no_new_code, only_these):
        assert seccomp.seccomp_load(each) == 0
    os.execvp(command[0], command)


if __name__ == "__main__":
    end = sys.argv.index("--")
    main(sys.argv[1:end], sys.argv[end + 1 :])
