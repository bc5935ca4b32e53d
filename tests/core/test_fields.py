from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from keyguard_jupyter import money
from keyguard_jupyter.core import fields
from keyguard_jupyter.errors import PolicyError

BERLIN = ZoneInfo("Europe/Berlin")


def problem_of(read, value, *more):
    """Return what is said of a value at the path ``here``."""
    with pytest.raises(PolicyError) as caught:
        read(value, "here", *more)
    assert caught.value.path.startswith("here")
    return caught.value.problem


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "nothing"),
        ("", "nothing"),
        ("x", 'the text "x"'),
        ([1], "a list"),
        (3, "3"),
        (True, "true"),
        (False, "false"),
    ],
)
def test_what_is_not_a_mapping_is_named(value, kind):
    """The message says what stands there instead."""
    assert problem_of(fields.mapping, value) == f"write a mapping here, not {kind}"


def test_a_key_that_yaml_reads_as_something_else_is_refused():
    """A student number or "no" without quotes is not text any more, and is not guessed."""
    assert problem_of(fields.mapping, {1234: {}}) == "1234 is not read as text: write it in quotes"
    assert problem_of(fields.named, {False: {}}) == "False is not read as text: write it in quotes"


def test_an_unknown_key_is_refused_with_the_nearest():
    """A misspelt setting is never silently without effect."""
    with pytest.raises(PolicyError) as caught:
        fields.mapping({"limit": {}}, "here", ("limits", "models"))
    assert str(caught.value) == 'here.limit: there is no such setting here; did you mean "limits"?'


def test_an_unknown_key_that_resembles_nothing_is_refused_with_all():
    """Where nothing is near, the message lists what there is."""
    problem = problem_of(fields.mapping, {"colour": 1}, ("limits", "models"))
    assert problem == "there is no such setting here; there are limits, models"


@pytest.mark.parametrize("name", ["", " ada", "a\nb", "a\u200bb", "x" * 201])
def test_a_name_is_visible_and_not_too_long(name):
    """Blanks around a name and characters that nobody sees would make two people look like one."""
    assert "is not a name" in problem_of(fields.named, {name: {}})
    assert "is not a name" in problem_of(fields.names, [name])


def test_a_name_is_text():
    """A number in a list of names is not guessed to be one."""
    assert problem_of(fields.names, [1234]) == "1234 is not read as text: write the name in quotes"
    assert problem_of(fields.names, "ada") == 'write a list here, not the text "ada"'
    assert fields.names(("Ada Lovelace", "zoë@example.org"), "here") == ["Ada Lovelace", "zoë@example.org"]


@pytest.mark.parametrize("pattern", ["", "gpt 4", "gpt-[34]", "gpt-{3,4}", "gpt\\*", "gpt\t4"])
def test_a_pattern_that_would_match_nothing_is_refused(pattern):
    """A deny that never matches is a hole: other wildcards than * and ? are refused."""
    assert "is not a model pattern" in problem_of(fields.patterned, {pattern: {}})


def test_patterns_are_ids_with_wildcards():
    """Slashes, colons and dots are part of ids."""
    assert fields.patterned({"ft:gpt-4.1-*:acme:?": 1, "org/model": 2}, "here")


@pytest.mark.parametrize("value", [None, "", "  ", 3, ["x"]])
def test_a_text_is_not_empty(value):
    """A message or a contact says something."""
    assert problem_of(fields.text, value).startswith("write a text here, not ")


def test_a_choice_is_one_of_some_words():
    """Other words are refused, and YAML's true is not a word."""
    assert fields.choice("deny", "here", ("allow", "deny")) == "deny"
    assert problem_of(fields.choice, "permit", ("allow", "deny")) == 'write one of allow, deny, not the text "permit"'
    assert problem_of(fields.choice, True, ("allow", "deny")) == "write one of allow, deny, not true"


def test_a_flag_is_true_or_false():
    """Text or numbers are not taken for a flag."""
    assert fields.flag(False, "here") is False
    assert problem_of(fields.flag, "false") == 'write true or false, not the text "false"'
    assert problem_of(fields.flag, 0) == "write true or false, not 0"


@pytest.mark.parametrize("value", ["60", 1.0, True, None])
def test_a_count_is_a_whole_number(value):
    """Nothing else is converted to one."""
    assert problem_of(fields.count, value).startswith("write a whole number here")


@pytest.mark.parametrize("value", [0, -1, 10**15 + 1])
def test_a_count_is_at_least_one(value):
    """Zero is refused: some read it as none, others as no limit."""
    assert "write at least 1; to stop calls, use active: false or pause" in problem_of(fields.count, value)


@pytest.mark.parametrize(
    ("value", "nano"),
    [("5.00", 5 * money.NANO), (5, 5 * money.NANO), ("0", 0), ("0.000000001", 1), ("disabled", None)],
)
def test_amounts_are_dollars_in_quotes_or_whole_or_disabled(value, nano):
    """They are exact."""
    assert fields.amount(value, "here") == nano


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5.0, '5.0 is read as a float, which is not exact: quote it, like "5.00"'),
        (-5, "-5 is negative: an amount is not"),
        ("-5.00", "-5.00 is negative: an amount is not"),
        (True, 'write dollars in quotes, like "5.00", or disabled, not true'),
        (None, 'write dollars in quotes, like "5.00", or disabled, not nothing'),
        ("$5", '"$5" is not an amount: write dollars, like "5.00", or disabled'),
        ("1e999999", '"1e999999" is not an amount: write dollars, like "5.00", or disabled'),
        ("NaN", '"NaN" is not an amount: write dollars, like "5.00", or disabled'),
        ("1_0", '"1_0" is not an amount: write dollars, like "5.00", or disabled'),
        ("\u0665", '"\u0665" is not an amount: write dollars, like "5.00", or disabled'),
    ],
)
def test_what_is_not_an_amount_is_refused_with_what_to_write(value, problem):
    """A limit is never read as another one than was meant."""
    assert problem_of(fields.amount, value) == problem


@pytest.mark.parametrize("value", ["0.0000000001", "99999999999", 10**30])
def test_an_amount_that_cannot_be_kept_is_refused(value):
    """Finer than a nano-dollar, or more than fits, is not rounded."""
    assert problem_of(fields.amount, value)


def test_a_time_zone_has_an_iana_name():
    """A misspelt one is refused with the nearest, a wrong one with an example."""
    assert fields.timezone("Europe/Berlin", "here") == "Europe/Berlin"
    assert problem_of(fields.timezone, "europe/berlin").endswith('; did you mean "Europe/Berlin"?')
    assert problem_of(fields.timezone, "xyzzy").endswith(': write one like "Europe/Berlin"')
    for value in ("../../etc/passwd", "/etc/localtime", "Europe", "\0"):
        assert "is not a time zone" in problem_of(fields.timezone, value)


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31T18:00:00+01:00", datetime(2027, 1, 31, 17, tzinfo=UTC)),
        ("2027-01-31 18:00", datetime(2027, 1, 31, 17, tzinfo=UTC)),
        (datetime(2027, 1, 31, 18), datetime(2027, 1, 31, 17, tzinfo=UTC)),
        (datetime(2027, 7, 31, 18), datetime(2027, 7, 31, 16, tzinfo=UTC)),
        (datetime(2027, 1, 31, 18, tzinfo=UTC), datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31", datetime(2027, 1, 31, 23, tzinfo=UTC)),
        (date(2027, 1, 31), datetime(2027, 1, 31, 23, tzinfo=UTC)),
    ],
)
def test_an_instant_follows_the_clock_of_the_project(value, instant):
    """Without an offset it is local time; a bare date lasts through its day."""
    assert fields.instant(value, "here", BERLIN) == instant


@pytest.mark.parametrize("value", ["tomorrow", "31.01.2027", "2027-02-30", "2027-13-01T00:00:00Z"])
def test_what_is_not_an_instant_is_refused(value):
    """No format is guessed."""
    assert "is not a date or a time" in problem_of(fields.instant, value, BERLIN)


def test_a_number_is_not_an_instant():
    """Neither is nothing, which does not mean never."""
    assert problem_of(fields.instant, 1800000000, BERLIN).endswith("not 1800000000")
    assert problem_of(fields.instant, None, BERLIN).endswith("not nothing")


@pytest.mark.parametrize(
    "value", ["9999-12-31", "9999-12-31T12:00:00", "0001-01-01T00:00:00+14:00", "1969-12-31T00:00:00Z"]
)
def test_an_instant_that_means_never_is_refused(value):
    """Never is not to write it."""
    assert problem_of(fields.instant, value, BERLIN).endswith("is out of range: leave it out for never")


def test_hours_are_a_list_of_spans():
    """An empty list, which could mean always or never, is refused."""
    assert fields.hours(["Mon-Fri 09:00-18:00"], "here") == ("Mon-Fri 09:00-18:00",)
    assert "leave it out for always" in problem_of(fields.hours, [])
    assert "is not a span" in problem_of(fields.hours, ["9 to 5"])
    assert "write a list here" in problem_of(fields.hours, "Mon-Fri 09:00-18:00")
    assert "write a text here" in problem_of(fields.hours, [9])
