"""The settings, shared by every way of running: class ``Keyguard`` in Jupyter's configuration files."""

import contextlib
import getpass
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyter_core.paths import jupyter_data_dir
from traitlets import Dict, Float, Integer, Unicode, default
from traitlets.config import Configurable

from .core.providers import BASE_URLS, KeySource, ProviderSpec, read_providers
from .errors import ConfigurationError


class Keyguard(Configurable):
    """Settings of the gateway and of the Jupyter server's extension."""

    providers = Dict(
        help="""Providers by name. Each is a mapping (kind, base_url, models, api_key_env | api_key_file |
        api_key_command | api_key_prompt, …) or, for a well-known name, just its key source: "prompt", "env:NAME",
        "file:/path", "command:pass show openai". The key itself is never written here. Default: OpenAI with the key
        from OPENAI_API_KEY.""",
    ).tag(config=True)
    database_url = Unicode(help="The ledger. Default: an SQLite file in Jupyter's data directory.").tag(config=True)
    prices = Dict(
        help="""Prices that the shipped table lacks or that differ for you, by "provider/model": decimal strings in
        USD per one million tokens, or {"free": True}.""",
    ).tag(config=True)
    policy_file = Unicode("", help="A policy (YAML) that is applied at every start.").tag(config=True)
    ip = Unicode("127.0.0.1", help="The address on which the gateway listens.").tag(config=True)
    port = Integer(0, help="The port on which the gateway listens; 0 takes a free one.").tag(config=True)
    certfile = Unicode("", help="A TLS certificate (PEM), for a gateway that other machines reach.").tag(config=True)
    keyfile = Unicode("", help="The TLS certificate's key (PEM).").tag(config=True)
    base_url = Unicode("/", help="The path under which the gateway serves.").tag(config=True)
    gateway_url = Unicode(
        help="""The root of a gateway that runs elsewhere. When set, the Jupyter server starts none of its own and
        takes the admin key from KEYGUARD_ADMIN_KEY. KEYGUARD_URL does the same, if there is an admin key too.""",
    ).tag(config=True)
    person = Unicode(help="Whom this Jupyter server's kernels belong to. Default: the user's name.").tag(config=True)
    project = Unicode("default", help="The project that this Jupyter server's kernels spend from.").tag(config=True)
    default_max_output_tokens = Integer(4096, min=1, help="The output cap, in tokens, of a call that names none.").tag(
        config=True
    )
    minimum_output_tokens = Integer(
        16, min=1, help="The output cap, in tokens, below which a call is refused instead of shortened."
    ).tag(config=True)
    hold_wait_seconds = Float(
        30.0, min=0, help="How long a call waits for money that other calls hold before it is told to try again."
    ).tag(config=True)
    provider_timeout_seconds = Float(
        600.0, min=1, help="How long a provider may be silent before the call is given up and charged."
    ).tag(config=True)
    max_body_bytes = Integer(4 * 1024 * 1024, min=1024, help="The largest request body in bytes.").tag(config=True)
    max_choices = Integer(8, min=1, help="The most alternatives (n, best_of) that one call may ask for.").tag(
        config=True
    )

    @default("providers")
    def _default_providers(self) -> dict[str, Any]:
        base_url = os.environ.get("OPENAI_BASE_URL") or BASE_URLS["openai"]
        if urlsplit(base_url).hostname != urlsplit(BASE_URLS["openai"]).hostname:
            raise ConfigurationError(
                f"OPENAI_BASE_URL points to {base_url}: name that server in c.Keyguard.providers, with its models, "
                "so that their prices are known"
            )
        return {"openai": {"kind": "openai", "base_url": base_url, "api_key_env": "OPENAI_API_KEY"}}

    @default("database_url")
    def _default_database_url(self) -> str:
        return f"sqlite:///{Path(jupyter_data_dir()) / 'keyguard' / 'keyguard.sqlite'}"

    @default("person")
    def _default_person(self) -> str:
        with contextlib.suppress(KeyError, OSError):  # an account without a name, as in some containers
            return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
        return str(os.getuid())

    def specs(self) -> dict[str, ProviderSpec]:
        """Return the providers, checked.

        Raises:
            ConfigurationError: names the field and what to write.
        """
        return read_providers(self.providers)

    def key_sources(self) -> dict[str, KeySource]:
        """Return where each provider's key comes from."""
        return {name: spec.source for name, spec in self.specs().items()}

    def as_document(self) -> dict[str, Any]:
        """Return all settings as JSON-able values, for the gateway process."""
        return {name: getattr(self, name) for name in sorted(self.traits(config=True))}
