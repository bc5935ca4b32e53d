from hypothesis import given
from hypothesis import strategies as st

from keyguard_jupyter.core.paths import join


def test_plain_names_are_joined_with_dots():
    """A path reads as it is nested in the file."""
    assert join("projects.default", "people", "ada", "limits") == "projects.default.people.ada.limits"


def test_the_first_name_needs_no_path_before_it():
    """A path at the top has no dot in front."""
    assert join("", "projects") == "projects"


def test_names_that_look_like_paths_are_quoted():
    """A dot, a blank or a quote in a name is not taken for a part of the path."""
    assert join("models", "gpt-3.5-turbo") == 'models."gpt-3.5-turbo"'
    assert join("people", "Ada Lovelace") == 'people."Ada Lovelace"'
    assert join("people", 'a"b', "") == 'people."a\\"b".""'


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
def test_two_places_never_have_the_same_path(one, other):
    """A path names one place only."""
    assert (join("", *one) == join("", *other)) == (one == other)
