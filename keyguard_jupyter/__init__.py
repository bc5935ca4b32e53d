"""One provider key, many notebooks: virtual keys with exact spending limits for Jupyter.

Every Jupyter server and every guarded kernel imports this module: it imports nothing that takes time.
"""

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["__version__", "load_ipython_extension"]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Name the server extension, after its keys were taken out of the environment.

    The order matters: Jupyter logs a warning and goes on when an extension cannot be imported or loaded, and then every
    kernel would inherit the server's environment. Whatever fails from here on, there is no key in it any more.
    """
    from .vault import take

    taken = take(("OPENAI_API_KEY", "KEYGUARD_ADMIN_KEY"))

    from functools import partial

    from .jupyter.extension import KeyguardExtension

    return [{"module": "keyguard_jupyter.jupyter.extension", "app": partial(KeyguardExtension, taken)}]


def load_ipython_extension(ip: "InteractiveShell") -> None:
    """Add the ``%keyguard`` magic, for ``%load_ext keyguard_jupyter``."""
    from .notebook.magic import load_ipython_extension as load

    load(ip)
