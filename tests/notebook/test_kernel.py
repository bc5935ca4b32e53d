"""The magic in real kernels, against a real gateway with a stand-in provider."""

from collections.abc import Iterator

import pytest

from .course import COIN, Course
from .kernels import Kernel, guarded, run_kernel

CALL = f"""
from keyguard_jupyter.client import Client as _Client
def call(tokens, model="{COIN}"):
    body = {{"model": model, "max_tokens": tokens, "messages": [{{"role": "user", "content": "Hi"}}]}}
    return _Client.from_kernel().post("/v1/chat/completions", body)["usage"]["completion_tokens"]
"""

PAUSE = "import time; time.sleep(0.2)"


def spend(course: Course, kernel: Kernel, tokens: int) -> list[str]:
    """Run a cell whose call is answered with so many tokens, as slowly as by a provider, and return its displays."""
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    course.script(model=COIN, usage=usage, delay=0.1)
    ran = kernel.run(f"paid = call({tokens})")
    assert (ran.status, ran.stderr) == ("ok", ""), ran
    assert all(set(bundle) == {"text/plain", "text/html"} for bundle in ran.bundles)
    return ran.texts


@pytest.fixture(scope="module")
def ada(course: Course) -> Iterator[Kernel]:
    """A kernel of a member of the team, with $1.00 a week."""
    with run_kernel(guarded(course.url, course.admit("ada", **course.limit("1.00")))) as kernel:
        kernel.run(CALL)
        yield kernel


class TestVerbs:
    def test_status(self, course: Course, ada: Kernel) -> None:
        """%keyguard and %keyguard status show one's own standing, as text and HTML."""
        spend(course, ada, 30)
        for line in ("%keyguard", "%keyguard status"):
            (bundle,) = ada.run(line).bundles
            lines = bundle["text/plain"].splitlines()
            assert lines[0] == "Keyguard: ada in project default, groups team"
            assert lines[1].startswith("Calls are open ($0.")
            assert "  this week, all models  [" in lines[3]
            assert lines[-1] == "Questions: host@example.org"
            assert 'role="meter"' in bundle["text/html"]

    def test_status_within_other_code(self, ada: Kernel) -> None:
        """A status is shown wherever in a cell it is asked for, and is not the cell's value."""
        assert len(ada.run("for _ in range(2):\n    %keyguard\nx = 1").texts) == 2

    def test_models(self, ada: Kernel) -> None:
        """Only models that one may call are listed, with prices."""
        (text,) = ada.run("%keyguard models").texts
        assert "gpt-4.1-mini" in text
        assert "$1.60" in text
        assert "o3" not in text

    @pytest.mark.parametrize(
        ("model", "verdict", "because"),
        [
            ("gpt-4.1", "gpt-4.1: allowed", "members of team"),
            ("o3", "o3: not allowed", "denies it"),
            ("gpt-4", "gpt-4: not allowed", "blocks it"),
            ("{wanted}", "gpt-4.1-mini: allowed", "allows it"),
        ],
    )
    def test_explain(self, ada: Kernel, model: str, verdict: str, because: str) -> None:
        """A verdict comes with its reason and its rule; the model may stand in a variable."""
        ada.run("wanted = 'gpt-4.1-mini'")
        (text,) = ada.run(f"%keyguard explain {model}").texts
        assert text.startswith(verdict)
        assert because in text
        assert "Rule: projects.default.models." in text

    def test_usage_is_a_frame(self, course: Course, ada: Kernel) -> None:
        """%keyguard usage gives one's own calls as a frame to work with."""
        spend(course, ada, 20)
        ada.run("df = %keyguard usage")
        found = ada.value("[df.model.iloc[-1], int(df.cost_nano.iloc[-1]), set(df.notebook) == {'ada.ipynb'}]")
        assert found == [COIN, 20_000_001, True]
        ada.run("none = %keyguard usage --since 2099-01-01")
        assert ada.value("len(none), list(none.columns) == list(df.columns)") == [0, True]

    def test_unknown_verb(self, ada: Kernel) -> None:
        """A slip of the pen gets the nearest verb and the help."""
        (text,) = ada.run("%keyguard stauts").texts
        assert text.startswith("There is no %keyguard stauts. Did you mean %keyguard status?\n%keyguard status ")

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("%keyguard explain", "UsageError: Write %keyguard explain MODEL."),
            ("%keyguard models all", "UsageError: Write %keyguard models."),
            ("%keyguard usage 7d", "UsageError: Write %keyguard usage, or %keyguard usage --since 7d."),
        ],
    )
    def test_wrong_words(self, ada: Kernel, line: str, expected: str) -> None:
        """Wrong arguments fail the cell with one line that says what to write."""
        ran = ada.run(line)
        assert (ran.status, ran.stderr.strip()) == ("error", expected)

    def test_cell_magic_has_one_verb(self, ada: Kernel) -> None:
        """%%keyguard with another verb shows the help, and runs nothing."""
        ran = ada.run("%%keyguard status\nstolen = 1")
        assert ran.texts[0].startswith("%%keyguard works with cost only, not with status.")
        assert ada.value("'stolen' in globals()") is False

    def test_help_on_the_magic(self, ada: Kernel) -> None:
        """%keyguard? documents the verbs."""
        assert "%keyguard explain MODEL" in ada.value("get_ipython().find_line_magic('keyguard').__doc__")

    def test_lost_gateway(self, ada: Kernel) -> None:
        """Without its gateway, status is a sentence, other verbs fail with it, and cells run on in silence."""
        ada.run("import os; kept = os.environ['KEYGUARD_URL']; os.environ['KEYGUARD_URL'] = 'http://127.0.0.1:1'")
        try:
            (text,) = ada.run("%keyguard").texts
            assert text.startswith("The Keyguard gateway at http://127.0.0.1:1 does not answer (Connection refused).")
            ran = ada.run("%keyguard models")
            assert (ran.status, "does not answer" in ran.stderr) == ("error", True)
            ran = ada.run("%%keyguard cost\nimport time; time.sleep(0.1); 6 * 7")
            assert (ran.status, ran.stderr, ran.texts[-1]) == ("ok", "", "42")
            assert ran.texts[0].startswith("The cost of this cell can't be counted.")
        finally:
            ada.run("os.environ['KEYGUARD_URL'] = kept")

    def test_kernel_without_a_key(self, course: Course) -> None:
        """A kernel that got no key is told so, and a key that is not ours goes nowhere."""
        with run_kernel(guarded(course.url, "keyguard-unavailable")) as kernel:
            assert kernel.run("%keyguard").texts[0].startswith("This kernel has no key")
            kernel.run("import os; os.environ['OPENAI_API_KEY'] = 'sk-of-my-own'")
            (text,) = kernel.run("%keyguard").texts
            assert "is not one of Keyguard's keys" in text
            assert "sk-of-my-own" not in text


class TestCost:
    def test_only_this_cells_calls(self, course: Course, ada: Kernel) -> None:
        """The report counts the calls of this cell and of this key, by model, and says what is left."""
        other = course.admit("bob", **course.limit("1.00"))
        spend(course, ada, 10)
        course.script(model=COIN, usage={"prompt_tokens": 1, "completion_tokens": 15, "total_tokens": 16}, times=3)
        ran = ada.run(
            f"%%keyguard cost\ncall(15)\n_Client('{course.url}', '{other}').post('/v1/chat/completions', "
            f"{{'model': '{COIN}', 'max_tokens': 15, 'messages': [{{'role': 'user', 'content': 'Hi'}}]}})\ncall(15)"
        )
        assert (ran.status, ran.texts[0]) == ("ok", "15")
        lines = ran.texts[1].splitlines()
        assert lines[0] == "This cell: 2 calls, 2 tokens in, 30 out, $0.0301"
        assert lines[2].split() == [COIN, "2", "2", "30", "$0.0301"]
        assert lines[3].startswith("Now: $0.")
        assert lines[3].endswith("left (this week, all models)")

    def test_no_calls(self, ada: Kernel) -> None:
        """A cell without calls keeps its value and is told that there were none."""
        assert [text.split(".")[0] for text in ada.run("%%keyguard cost\n6 * 7").texts] == [
            "42",
            "No call of this cell reached a model",
        ]

    def test_error_in_the_cell(self, course: Course, ada: Kernel) -> None:
        """An error is shown once and fails the cell as ever; what was spent until then is reported."""
        course.script(model=COIN, usage={"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6})
        ran = ada.run("%%keyguard cost\ncall(5)\n1/0")
        assert (ran.status, ran.error) == ("error", "ZeroDivisionError: division by zero")
        assert ran.texts[-1].startswith("This cell: 1 call, 1 token in, 5 out, $0.0051")

    def test_top_level_await(self, ada: Kernel) -> None:
        """The cell is an ordinary one: await works in it."""
        ran = ada.run("%%keyguard cost\nimport asyncio\nawait asyncio.sleep(0, 'done')")
        assert (ran.status, ran.error, ran.texts[0]) == ("ok", "", "'done'")

    def test_below_another_cell_magic(self, course: Course, ada: Kernel) -> None:
        """Within another cell magic it counts that magic's cell."""
        course.script(model=COIN, usage={"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6})
        ran = ada.run("%%capture kept\n%%keyguard cost\nx = call(5)")
        assert (ran.status, ran.texts) == ("ok", [])
        assert ada.value("kept.outputs[-1].data['text/plain'].startswith('This cell: 1 call')") is True

    def test_called_by_name(self, ada: Kernel) -> None:
        """Code that runs the cell magic by its name gets the same."""
        ran = ada.run("get_ipython().run_cell_magic('keyguard', 'cost', 'y = 6 * 7')")
        assert ran.texts[0].startswith("No call of this cell reached a model")
        assert ada.value("y") == 42


class TestWarnings:
    def test_each_threshold_once_in_the_cell_that_crosses_it(self, course: Course) -> None:
        """75, 90 and 100 percent are told below the very cell; a new kernel does not repeat them."""
        key = course.admit("carol", **course.limit("0.100000005"))
        with run_kernel(guarded(course.url, key)) as kernel:
            assert kernel.run(CALL).texts == []
            assert spend(course, kernel, 20) == []
            (first,) = spend(course, kernel, 56)
            assert first.startswith("Keyguard: your limit (this week, all models) is 75 % used: $0.0761 of $0.10")
            assert "$0.02 left, resets Mon " in first
            assert spend(course, kernel, 1) == []
            (second,) = spend(course, kernel, 14)
            assert " is 90 % used: " in second
            with run_kernel(guarded(course.url, key)) as late:
                late.run(CALL)
                assert late.run(PAUSE).texts == []
                (third,) = spend(course, late, 9)
                assert " is used up: $0.1001 of $0.10" in third
            assert kernel.run(PAUSE).texts == [third]

    def test_pool_is_told_in_words(self, course: Course) -> None:
        """A shared limit that runs low is told to its members without its figures."""
        course.policy["groups"]["lab"] = {"members": ["dan"], "limits": {"total": {"amount": "0.10"}}}
        with run_kernel(guarded(course.url, course.admit("dan"))) as kernel:
            kernel.run(CALL)
            assert spend(course, kernel, 80) == []
            assert spend(course, kernel, 11) == [
                "Keyguard: the limit shared by group lab (in total, all models) is nearly used up"
            ]
            (status,) = kernel.run("%keyguard").texts
            assert "  group lab (in total, all models) is nearly used up" in status
            assert "0.09" not in status

    def test_one_threshold_for_each_change_by_the_host(self, course: Course) -> None:
        """A limit that the host lowers is told like one that was used up."""
        with run_kernel(guarded(course.url, course.admit("eve", **course.limit("1.00")))) as kernel:
            kernel.run(CALL)
            assert spend(course, kernel, 50) == []
            course.admit("eve", **course.limit("0.05"))
            (text,) = kernel.run(PAUSE).texts
            assert "is used up: $0.0501 of $0.05, $0.00 left, resets Mon " in text
            assert text.endswith("Ask host@example.org")


@pytest.fixture(scope="module")
def sdk(course: Course) -> Iterator[Kernel]:
    """A kernel with the unmodified SDK, configured by its environment alone."""
    with run_kernel(guarded(course.url, course.admit("fay", **course.limit("1.00")))) as kernel:
        assert kernel.run("import openai\nclient = openai.OpenAI(max_retries=0)").status == "ok"
        kernel.run(
            "def ask(model, tokens=20, **more):\n"
            "    m = [{'role': 'user', 'content': 'Hi'}]\n"
            "    return client.chat.completions.create(model=model, messages=m, max_completion_tokens=tokens, **more)"
        )
        yield kernel


class TestSdk:
    def test_stream_is_counted_when_the_cell_ends(self, sdk: Kernel) -> None:
        """A stream that the SDK read to its end is in the report, with the calls beside it."""
        ran = sdk.run(
            "%%keyguard cost\n"
            "text = ''.join(c.choices[0].delta.content or '' for c in ask('gpt-4.1-mini', stream=True) if c.choices)\n"
            "vectors = client.embeddings.create(model='text-embedding-3-small', input='Hi')"
        )
        (report,) = ran.texts
        assert report.startswith("This cell: 2 calls, ")
        assert [line.split()[:2] for line in report.splitlines()[2:4]] == [
            ["gpt-4.1-mini", "1"],
            ["text-embedding-3-small", "1"],
        ]

    def test_async_calls(self, sdk: Kernel) -> None:
        """Parallel calls of the asynchronous client are all counted."""
        ran = sdk.run(
            "%%keyguard cost\n"
            "import asyncio\n"
            "async with openai.AsyncOpenAI() as a:\n"
            "    m = [{'role': 'user', 'content': 'Hi'}]\n"
            "    jobs = [a.chat.completions.create(model='gpt-4.1-mini', messages=m, max_tokens=9) for _ in range(3)]\n"
            "    answers = await asyncio.gather(*jobs)"
        )
        assert ran.texts[0].startswith("This cell: 3 calls, ")

    @pytest.mark.parametrize(
        ("code", "error", "facts"),
        [
            ("ask('o3')", "PermissionDeniedError: Error code: 403 - o3 is not allowed", ["o3", "host@example.org"]),
            ("ask('gpt-4')", "PermissionDeniedError: Error code: 403 - gpt-4 is blocked", ["host@example.org"]),
            ("ask('gpt-4.1')", "PermissionDeniedError: Error code: 403 - ", ["gpt-4.1", "team", "host@example.org"]),
        ],
    )
    def test_refusals_are_sentences(self, sdk: Kernel, code: str, error: str, facts: list[str]) -> None:
        """The SDK's own exception ends in a sentence that says what, why and whom to ask."""
        ran = sdk.run(code)
        assert ran.error.startswith(error)
        assert all(fact in ran.error for fact in facts)
        assert "{" not in ran.error

    def test_used_up(self, course: Course, sdk: Kernel) -> None:
        """A call that no limit covers any more fails with limit, amounts, reset and contact."""
        course.admit("fay", **course.limit("0.00"))
        error = sdk.run("ask('gpt-4.1-mini')").error
        course.admit("fay", **course.limit("1.00"))
        assert error.startswith("APIStatusError: Error code: 402 - Your weekly limit ")
        for fact in ("of $0.00 used", "resets", "host@example.org"):
            assert fact in error

    def test_too_many(self, course: Course, sdk: Kernel) -> None:
        """A rate limit says so, and that it passes."""
        course.admit("fay", **course.limit("1.00"), requests_per_minute=1)
        errors = [sdk.run("ask('gpt-4.1-mini')").error for _ in range(2)]
        course.admit("fay", **course.limit("1.00"))
        assert errors[1].startswith("RateLimitError: Error code: 429 - ")
        assert "per minute" in errors[1]

    def test_paused(self, course: Course, sdk: Kernel) -> None:
        """A pause shows the host's own words, in the exception and in the status."""
        course.admit("fay", **course.limit("1.00"), pause={"*": "The exam is on until noon."})
        error, status = sdk.run("ask('gpt-4.1-mini')").error, sdk.run("%keyguard").texts[0]
        course.admit("fay", **course.limit("1.00"))
        assert error.startswith("PermissionDeniedError: Error code: 403 - ")
        assert "The exam is on until noon." in error
        assert status.splitlines()[1].startswith("PAUSED: ")
        assert "The exam is on until noon." in status
