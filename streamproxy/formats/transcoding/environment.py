"""What ffmpeg is told of the environment."""

from collections.abc import Mapping

_TOLD = (
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "LD_LIBRARY_PATH",
    "LIBVA_DRIVERS_PATH",
    "LIBVA_DRIVER_NAME",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what it needs to run and to find the hardware; the rest may hold secrets.

    Hardware that was found with it must be found again with it.

    Args:
        environ: All that there is.
    """
    return {name: environ[name] for name in _TOLD if name in environ}
