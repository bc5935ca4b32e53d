"""Providers as the host configures them: name → base URL, key source, models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from urllib.parse import urlsplit

from ..errors import ConfigurationError

BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
}
KINDS = ("openai", "azure", "anthropic", "gemini", "compatible")
KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
_FIELDS = frozenset(
    {
        "kind",
        "base_url",
        "models",
        "deployments",
        "api_version",
        "api_key_env",
        "api_key_file",
        "api_key_command",
        "api_key_prompt",
        "unknown_fields",
        "price_multiplier",
        "hidden_input_tokens",
    }
)


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a provider's key comes from; never the key.

    ``kind`` is ``environment`` (value: a variable's name), ``file`` (a path), ``command`` (a command line, run without
    a shell, that prints the key), ``prompt`` (asked at start) or ``none`` (a server without keys).
    """

    kind: str
    value: str = ""

    def __str__(self) -> str:
        """Describe the source for a log line."""
        return f"{self.kind} {self.value}".strip()


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider.

    Args:
        models: exact ids that are routed here; None means every model of the kind's price table.
        deployments: Azure only: deployment name → model whose price it has.
        unknown_fields: ``refuse`` or ``pass`` request fields that Keyguard does not know.
        multiplier: applied to every price (regional surcharges, a safety margin).
        hidden_input_tokens: tokens the provider adds to every call; None for the default.
    """

    name: str
    kind: str
    base_url: str
    source: KeySource
    models: tuple[str, ...] | None = None
    deployments: Mapping[str, str] = field(default_factory=dict)
    api_version: str = ""
    unknown_fields: str = "refuse"
    multiplier: Fraction = Fraction(1)
    hidden_input_tokens: int | None = None

    @property
    def speaks_openai(self) -> bool:
        """Whether OpenAI's own request fields (``store``, ``service_tier``, …) are understood."""
        return self.kind in {"openai", "azure"}

    def priced_as(self, model: str) -> str:
        """Return the id under which a model of this provider stands in the price table."""
        return self.deployments.get(model, model)

    def serves(self, model: str) -> bool:
        """Tell whether the configuration names this model for this provider."""
        return model in self.deployments or (self.models is not None and model in self.models)


def read_providers(document: Mapping[str, object]) -> dict[str, ProviderSpec]:
    """Read the ``Keyguard.providers`` setting.

    Args:
        document: name → mapping of fields, or name → short form of a key source for a well-known provider
            (``"env:NAME"``, ``"file:/path"``, ``"command:pass show openai"``, ``"prompt"``).

    Raises:
        ConfigurationError: names the provider, the field and what to write.
    """
    specs = {name: _read_provider(name, value) for name, value in document.items()}
    owners: dict[str, str] = {}
    for spec in specs.values():
        for model in {*(spec.models or ()), *spec.deployments}:
            if owners.setdefault(model, spec.name) != spec.name:
                raise ConfigurationError(f"providers: {owners[model]} and {spec.name} both name the model {model}")
    return specs


def _read_provider(name: str, value: object) -> ProviderSpec:
    where = f"providers.{name}"
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigurationError(f"providers: {name!r} is not a name (letters, digits, - and _)")
    if isinstance(value, str):
        value = {"kind": name, **_short_source(where, value)}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where} must be a mapping, or a key source such as file:/run/secrets/{name}")
    if unknown := sorted(str(key) for key in value if key not in _FIELDS):
        raise ConfigurationError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(sorted(_FIELDS))}")
    kind = value.get("kind", name if name in KINDS else "compatible")
    if kind not in KINDS:
        raise ConfigurationError(f"{where}.kind is {kind!r}; write one of {', '.join(KINDS)}")
    models = _names(where, "models", value.get("models"))
    deployments = _deployments(where, value.get("deployments"))
    if kind == "compatible" and not models:
        raise ConfigurationError(f'{where}.models is missing: list the exact ids it serves, as ["qwen3-32b"]')
    if kind == "azure" and not deployments:
        raise ConfigurationError(f'{where}.deployments is missing: write {{"my-deployment": "gpt-4.1"}}')
    return ProviderSpec(
        name=name,
        kind=kind,
        base_url=_base_url(where, value.get("base_url", BASE_URLS.get(kind))),
        source=_source(where, kind, value),
        models=models,
        deployments=deployments,
        api_version=str(value.get("api_version", "2024-10-21" if kind == "azure" else "")),
        unknown_fields=_one_of(where, "unknown_fields", value.get("unknown_fields", "refuse"), ("refuse", "pass")),
        multiplier=_multiplier(where, value.get("price_multiplier", "1")),
        hidden_input_tokens=_tokens(where, value.get("hidden_input_tokens")),
    )


def _short_source(where: str, text: str) -> dict[str, object]:
    kind, _, rest = text.partition(":")
    if text == "prompt":
        return {"api_key_prompt": True}
    if kind in {"env", "file", "command"} and rest:
        return {f"api_key_{kind}": rest}
    raise ConfigurationError(
        f"{where} is not a key source; write prompt, env:NAME, file:/path or command:…, and never the key itself"
    )


def _source(where: str, kind: str, value: Mapping[str, object]) -> KeySource:
    given = [name for name in ("env", "file", "command", "prompt") if value.get(f"api_key_{name}")]
    if len(given) > 1:
        raise ConfigurationError(f"{where}: give one key source, not {' and '.join(f'api_key_{g}' for g in given)}")
    if not given:
        variable = KEY_VARIABLES.get(kind)
        return KeySource("environment", variable) if variable else KeySource("none")
    if given == ["prompt"]:
        return KeySource("prompt")
    text = value[f"api_key_{given[0]}"]
    if not isinstance(text, str):
        raise ConfigurationError(f"{where}.api_key_{given[0]} must be a string")
    return KeySource("environment" if given == ["env"] else given[0], text)


def _base_url(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}.base_url is missing: write the URL under which /chat/completions lies")
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ConfigurationError(f"{where}.base_url must be a plain http(s) URL such as https://api.openai.com/v1")
    return value.rstrip("/")


def _names(where: str, name: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise ConfigurationError(f"{where}.{name} must be a list of exact model ids")
    return tuple(value)


def _deployments(where: str, value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}.deployments must map deployment names to model ids")
    bases = {name: base.get("base_model") if isinstance(base, Mapping) else base for name, base in value.items()}
    for name, base in bases.items():
        if not isinstance(base, str) or not base:
            raise ConfigurationError(f'{where}.deployments.{name} must name the model it runs, as "gpt-4.1"')
    return {str(name): str(base) for name, base in bases.items()}


def _one_of(where: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ConfigurationError(f"{where}.{name} is {value!r}; write one of {', '.join(choices)}")
    return str(value)


def _multiplier(where: str, value: object) -> Fraction:
    try:
        number = Decimal(value) if isinstance(value, str | int) else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or not Decimal("0.01") <= number <= Decimal(100):
        raise ConfigurationError(f'{where}.price_multiplier is {value!r}; write a decimal string such as "1.1"')
    return Fraction(number)


def _tokens(where: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"{where}.hidden_input_tokens must be a whole number of tokens")
    return value
