import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.matching import exactness, matches, select

from .policies import ALLOW, BLOCKED, DENY, members

glob = st.text("ab*?.[", max_size=8)


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("gpt-4", "gpt-4", True),
        ("gpt-4", "gpt-4o", False),
        ("gpt-4", "GPT-4", False),
        ("gpt-4*", "gpt-4", True),
        ("gpt-4*", "gpt-4-1106-preview", True),
        ("gpt-4*", "xgpt-4", False),
        ("*", "anything/at:all", True),
        ("*-mini", "gpt-4o-mini", True),
        ("*-mini", "gpt-4o-minimal", False),
        ("ft:gpt-4.1-*:acme:*", "ft:gpt-4.1-mini:acme:x:1", True),
        ("ft:gpt-4.1-*:acme:*", "ft:gpt-4.1-mini:other:x:1", False),
        ("gpt-4?", "gpt-4o", True),
        ("gpt-4?", "gpt-4", False),
        ("gpt-[34]", "gpt-4", False),
        ("gpt.4", "gpt-4", False),
        ("gpt-4", "gpt-4\n", False),
    ],
)
def test_only_star_and_question_mark_are_special(pattern, model, expected):
    """A pattern matches the whole id, as it is written, and nothing else in it has a meaning."""
    assert matches(pattern, model) is expected


@given(glob, st.text("ab.[*", max_size=8))
def test_matching_agrees_with_a_regular_expression(pattern, model):
    """A star is any characters, a question mark is one."""
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    assert matches(pattern, model) == bool(re.fullmatch(expression, model, re.DOTALL))


def test_no_pattern_is_slow():
    """Many stars against a long id that almost matches cost no more than their product."""
    assert not matches("a*" * 60 + "b", "a" * 3000)


def test_patterns_are_ordered_from_vague_to_exact():
    """An id is most exact, then the longer literal part, then fewer stars."""
    order = ["**", "*", "gpt-*", "gpt-4*", "gpt-4*-preview*", "gpt-4*-preview?", "a-model"]
    assert sorted(set(order), key=exactness) == order


def test_the_most_exact_pattern_speaks():
    """At one scope the most exact pattern that matches decides, in whatever order the rules stand."""
    rules = {"*": DENY, "gpt-4o": ALLOW, "gpt-4*": members("team")}
    assert select(rules, "gpt-4o") == ("gpt-4o", ALLOW)
    assert select(rules, "gpt-4") == ("gpt-4*", members("team"))
    assert select(dict(reversed(rules.items())), "gpt-4") == ("gpt-4*", members("team"))
    assert select(rules, "o3") == ("*", DENY)


def test_blocked_speaks_before_a_more_exact_pattern():
    """What is blocked has no exceptions, not even at the same scope."""
    assert select({"gpt-*": BLOCKED, "gpt-4": ALLOW}, "gpt-4") == ("gpt-*", BLOCKED)


def test_of_two_patterns_as_exact_the_stricter_speaks():
    """A tie is never resolved by the order of the lines."""
    assert select({"gpt-4*": ALLOW, "*gpt-4": DENY}, "gpt-4") == ("*gpt-4", DENY)
    assert select({"*gpt-4": DENY, "gpt-4*": ALLOW}, "gpt-4") == ("*gpt-4", DENY)


def test_a_scope_that_does_not_mention_a_model_is_silent():
    """No match is no opinion."""
    assert select({"gpt-4": ALLOW}, "gpt-4o") is None
