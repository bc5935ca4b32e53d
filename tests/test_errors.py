"""Errors: one tree, and one shape for callers."""

import inspect

import pytest

from keyguard_jupyter import errors
from keyguard_jupyter.errors import GatewayError, KeyguardError, PolicyError, Refused

EVERY = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, KeyguardError)]
REFUSALS = [one for one in EVERY if issubclass(one, Refused)]
STATUS = {
    "Refused": 400,
    "BadRequest": 400,
    "Unauthorized": 401,
    "OverBudget": 402,
    "Forbidden": 403,
    "NotFound": 404,
    "TooLarge": 413,
    "WrongMediaType": 415,
    "TooMany": 429,
    "ProviderFailed": 502,
    "Unavailable": 503,
    "ProviderTimedOut": 504,
}


def test_everything_raised_on_purpose_has_one_base():
    """One ``except`` catches it all, and the tree in the docstring names what is in the module."""
    assert {one.__name__ for one in EVERY} - {"TooLarge", "WrongMediaType", "ProviderTimedOut"} == {
        word for word in (errors.__doc__ or "").replace("─", " ").split() if word in {e.__name__ for e in EVERY}
    }


def test_each_refusal_has_its_status():
    """The statuses that the reference names."""
    assert {one.__name__: one.status for one in REFUSALS} == STATUS


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_told_in_the_shape_that_the_sdk_reads(kind):
    """Message, type, param and code stand under ``error``."""
    refused = kind("No.", code="some_code", param="model")
    assert refused.body() == {"error": {"message": "No.", "type": kind.kind, "param": "model", "code": "some_code"}}
    assert str(refused) == "No."


@pytest.mark.parametrize("kind", REFUSALS)
def test_an_sdk_tries_again_only_when_told_to(kind):
    """Without a time it must not; with one it may, after a second at least."""
    assert kind("No.", code="c").headers() == {"x-should-retry": "false"}
    assert kind("No.", code="c", retry_after=7).headers() == {"x-should-retry": "true", "retry-after": "7"}
    assert kind("No.", code="c", retry_after=0).headers()["retry-after"] == "1"


def test_a_policy_error_names_its_field():
    """The path stands before the problem, where there is one."""
    error = PolicyError("projects.default.people.ada", "is odd")
    assert (str(error), error.path, error.problem) == ("projects.default.people.ada: is odd", error.path, "is odd")
    assert str(PolicyError("", "line 3: is odd")) == "line 3: is odd"


def test_a_client_knows_whether_it_was_refused():
    """Status 0 is a gateway that was not reached."""
    error = GatewayError("no answer")
    assert (error.status, error.code) == (0, "unreachable")
