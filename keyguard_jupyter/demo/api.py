"""What the stand-in answers to a call: who may, which endpoint, and what it says."""

from typing import Any

from ..errors import BadRequest
from .endpoints import AZURE, ENDPOINTS, describe_model
from .record import Received
from .said import Answer, encode
from .script import Script


class Api:
    """OpenAI's API, without the sending.

    Args:
        key: the one key that is good; None takes any but no missing one.
        models: what ``/models`` lists.
    """

    def __init__(self, key: str | None, models: tuple[str, ...]) -> None:
        self._key = key
        self._models = models
        self._serial = 0

    def answer(self, received: Received, body: Any, script: Script) -> Answer:
        """Answer a call.

        Args:
            received: the call.
            body: its body, parsed; None when it was not JSON.
            script: what a test wants.
        """
        refused = self._check_key(received)
        if refused is not None:
            return refused
        deployment, path = _locate(received.path)
        if path is None:
            return _refuse(404, "Resource not found", code="404")
        if received.method == "GET" and path.partition("/")[0] == "models":
            return self._list_models(path)
        endpoint = (AZURE if deployment else ENDPOINTS).get(path)
        if endpoint is None or received.method != "POST":
            return _refuse(404, f"Invalid URL ({received.method} {received.path.partition('?')[0]})")
        if not isinstance(body, dict):
            return _refuse(400, "We could not parse the JSON body of your request.")
        self._serial += 1
        try:
            return endpoint({**body, "model": deployment} if deployment else body, script, self._serial)
        except BadRequest as error:
            return Answer(status=400, payload=encode(error.body()))
        except (AttributeError, KeyError, TypeError, ValueError):
            return _refuse(400, "Invalid request: a field holds something of the wrong type.", code="invalid_type")

    def _list_models(self, path: str) -> Answer:
        if path == "models":
            return Answer(payload=encode({"object": "list", "data": [describe_model(name) for name in self._models]}))
        name = path.removeprefix("models/")
        if name in self._models:
            return Answer(payload=encode(describe_model(name)))
        return _refuse(404, f"The model '{name}' does not exist", param="model", code="model_not_found")

    def _check_key(self, received: Received) -> Answer | None:
        key = received.key
        if key and (self._key is None or key == self._key):
            return None
        if not key:
            return _refuse(
                401, "You didn't provide an API key. Provide it in an Authorization header using Bearer auth."
            )
        message = f"Incorrect API key provided: {_mask(key)}. You can find your API key in your account."
        return _refuse(401, message, code="invalid_api_key")


def _locate(raw_path: str) -> tuple[str, str | None]:
    """Tell which deployment a path names, if any, and which endpoint.

    Returns:
        the endpoint as OpenAI has it under ``/v1/``; None when Azure would not find it, for want of an ``api-version``.
    """
    path, _, query = raw_path.partition("?")
    for prefix in ("/v1/", "/openai/v1/"):
        if path.startswith(prefix):
            return "", path.removeprefix(prefix)
    if not path.startswith("/openai/"):
        return "", path
    if "api-version=" not in query:
        return "", None
    parts = path.split("/", 4)
    if parts[2] == "deployments" and len(parts) == 5:
        return parts[3], parts[4]
    return "", path.removeprefix("/openai/")


def _mask(key: str) -> str:
    """Show a key as the real provider does: its first eight and last four characters."""
    return f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}" if len(key) > 12 else "*" * len(key)


def _refuse(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Answer(status=status, payload=encode({"error": error}))
