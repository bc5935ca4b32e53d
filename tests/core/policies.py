"""Policies for the tests: short builders, and strategies that draw them."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from keyguard_jupyter import money
from keyguard_jupyter.core.people import Caller
from keyguard_jupyter.core.policy import Budget, Group, ModelRule, Project, Settings

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
ALLOW, DENY, BLOCKED = ModelRule("allow"), ModelRule("deny"), ModelRule("blocked")
NOTHING = Settings()

GROUPS = ("red", "green", "blue")
PEOPLE = ("ada", "bob", "eve")
MODELS = ("gpt-4", "gpt-4o", "gpt-4o-mini", "ft:gpt-4:acme:1", "o3")
PATTERNS = ("*", "gpt-*", "gpt-4*", "gpt-4", "gpt-4o", "gpt-??", "*-mini", "ft:*", "o?")
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Apia",
    "Africa/Cairo",
    "America/Santiago",
    "Asia/Kathmandu",
)


def members(*groups: str) -> ModelRule:
    """Return the rule that admits members of some groups."""
    return ModelRule("members", groups)


def usd(dollars: str, window: str = "lifetime", until: datetime | None = None) -> Budget:
    """Return a budget of dollars."""
    return Budget(money.parse(dollars), window, until)


def call(project: Project, person: str = "ada", *, groups: tuple[str, ...] | None = None) -> Caller:
    """Return a caller of the project, by default in the groups that the project puts them in."""
    mine = project.groups_of(person) if groups is None else groups
    return Caller(project.name, person, mine, "key-1", "35a3", "personal")


def instants(
    first: datetime = datetime(1990, 1, 1), last: datetime = datetime(2090, 1, 1)
) -> st.SearchStrategy[datetime]:
    """Draw instants in UTC."""
    return st.datetimes(first, last, timezones=st.just(UTC))


rules = st.one_of(
    st.sampled_from([ALLOW, DENY, BLOCKED]),
    st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2).map(lambda groups: ModelRule("members", tuple(groups))),
)
amounts = st.none() | st.integers(0, 20).map(lambda dollars: dollars * money.NANO)
budgets = st.one_of(
    st.builds(Budget, amounts, st.sampled_from(["lifetime", "day", "week", "month"])),
    st.builds(lambda amount, until: Budget(amount, until=until), amounts, instants()),
)
days = st.sampled_from(["Mon", "Sun", "Mon-Fri", "Sat,Sun", "Fri-Mon", "Mon-Sun", "Tue,Thu-Fri"])
times = st.integers(0, 23).flatmap(lambda hour: st.sampled_from([f"{hour:02}:00", f"{hour:02}:30"]))
spans = st.tuples(days, times, times | st.just("24:00")).filter(lambda span: span[1] != span[2])
timetables = st.lists(spans.map(lambda span: f"{span[0]} {span[1]}-{span[2]}"), min_size=1, max_size=2).map(tuple)


_budgets = {
    "total": budgets,
    "model_limits": st.dictionaries(st.sampled_from(PATTERNS[1:]), budgets, max_size=2),
}
_caps = dict.fromkeys(
    ("requests_per_minute", "tokens_per_minute", "max_concurrent", "max_output_tokens"), st.integers(1, 5)
)
_rights = {"models": st.dictionaries(st.sampled_from(PATTERNS), rules, max_size=3)}
_times = {"expires_at": instants(), "hours": timetables}
_stops = {
    "active": st.sampled_from([True, True, False]),
    "pause": st.dictionaries(st.sampled_from(PATTERNS), st.sampled_from(["Back at noon.", "Ask ada"]), max_size=1),
}


def _settings(*fields: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[Settings]:
    optional = {name: strategy for some in fields for name, strategy in some.items()}
    return st.fixed_dictionaries({}, optional=optional).map(lambda values: Settings(**values))


rights = _settings(_rights)
settings = _settings(_rights, _budgets, _caps, _times, _stops)
defaults = _settings(_budgets, _caps, _times)


def projects(
    any_settings: st.SearchStrategy[Settings] = settings, any_defaults: st.SearchStrategy[Settings] = defaults
) -> st.SearchStrategy[Project]:
    """Draw projects of three groups and three people."""
    groups = st.builds(Group, st.frozensets(st.sampled_from(PEOPLE)), any_settings, any_defaults)
    return st.builds(
        Project,
        st.sampled_from(["default", "course 1.2"]),
        default=st.sampled_from(["allow", "deny", "members"]),
        timezone=st.sampled_from(ZONES),
        settings=any_settings,
        groups=st.fixed_dictionaries(dict.fromkeys(GROUPS, groups)),
        people=st.dictionaries(st.sampled_from(PEOPLE), any_settings),
        person_defaults=any_defaults,
        contact=st.sampled_from([None, "Ada <ada@example.org>"]),
        notice=st.sampled_from([None, "Exam on Friday."]),
    )


people = st.sampled_from([*PEOPLE, "stranger"])
models = st.sampled_from(MODELS)
