"""Graders that ask a model: what they would cost, what they cost once, and what is made of what they say."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from llmbatch import ledger as ledgers
from llmbatch.cli import answers, main
from llmbatch.cli.graded import Stored, checked
from llmbatch.cli.make import usable
from llmbatch.errors import InputError
from llmbatch.simulator import Fault, Judging, Latency, Model, Scenario, Server, Simulator
from llmbatch.source import open_source
from llmbatch.types import Row
from tests.cli.conftest import Serve, Shell, tickets

JUDGE = """
[prices.judge-1]
input = 1
output = 1

[quality.judge]
model = "judge-1"
params = { max_completion_tokens = 100 }
rows = 40

[quality.graders.fine]
kind = "judge"
rubric = "rubric.md"
"""
RUBRIC = "{{ row.text }}\nANSWER: {{ output.summary }}"
PAIR = JUDGE.replace("rubric.md", "pair.md").replace(
    'kind = "judge"', 'kind = "judge"\nask = "pair"\nfield = "summary"'
)
PAIR_RUBRIC = "{{ row.text }}\nFIRST: {{ first }}\nSECOND: {{ second }}"


def world(judge: Judging | None = None, *faults: Fault, error_rate: float = 0.3, **model: Any) -> Scenario:
    """An answerer that is wrong about some rows, and a judge."""
    judging = judge or Judging(right="ANSWER: simulated$")
    models = {"m-1": Model(error_rate=error_rate), "judge-1": Model(judge=judging, **model)}
    return Scenario(seed=1, server=Server(brain="echo"), latency=Latency(median_ms=0), model=models, fault=faults)


class Grading:
    """`llmbatch` in the shell's folder, in this process; called, it is `llmbatch grade label --json`."""

    def __init__(self, shell: Shell, capfd: pytest.CaptureFixture[str]) -> None:
        self.shell = shell
        self._capfd = capfd
        self._set: tuple[str, ...] = ()

    def call(self, *args: object, expect: int = 0) -> Any:
        """What it printed."""
        self._capfd.readouterr()
        assert main(list(map(str, args))) == expect
        return self._capfd.readouterr()

    def run(self, url: str) -> dict[str, Any]:
        """A run of in.jsonl."""
        self._set = ("--set", f"provider.base_url={url}")
        command = ("run", "label", "-i", "in.jsonl", "--base-url", url, "--max-failed", "100%", "--json", "--quiet")
        found: dict[str, Any] = orjson.loads(self.call(*command).out)
        return found

    def told(self, *args: object, expect: int = 0) -> Any:
        return self.call("grade", "label", *self._set, "--quiet", *args, expect=expect)

    def __call__(self, *args: object, expect: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.told("--json", *args, expect=expect).out)
        return found


Ready = Callable[..., Grading]


def ledger_of(shell: Shell) -> Path:
    return shell.folder / ".llmbatch/label.duckdb"


@pytest.fixture
def grading(shell: Shell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Grading:
    monkeypatch.chdir(shell.folder)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return Grading(shell, capfd)


@pytest.fixture
def graded(grading: Grading) -> Ready:
    """A run of 60 rows against a simulator, ready to be graded."""

    def ready(server: Simulator, toml: str = JUDGE, rows: list[dict[str, Any]] | None = None) -> Grading:
        shell = grading.shell
        path = shell.pipeline / "pipeline.toml"
        path.write_text(path.read_text() + toml)
        (shell.pipeline / "rubric.md").write_text(RUBRIC)
        (shell.pipeline / "pair.md").write_text(PAIR_RUBRIC)
        shell.write("in.jsonl", rows if rows is not None else tickets(60))
        grading.run(server.base_url)
        return grading

    return ready


def test_a_judge_costs_nothing_unasked_and_is_paid_once(serve: Serve, shell: Shell, graded: Ready) -> None:
    server = serve(world())
    grade = graded(server)
    before = server.account.total.requests
    told = grade.told().out
    assert "fine: not asked: judge-1 would get 40 questions, 0 of them stored, about $0.00" in told
    assert server.account.total.requests == before
    assert grade()["graders"] == []

    found = grade("--ask", "--budget", "1")
    (fine,) = found["graders"]
    calls = server.account.total.requests - before
    assert calls == fine["judged"]["calls"] == 40
    paid = server.account.by_model["judge-1"]
    assert fine["judged"]["cost_usd"] == pytest.approx((paid.input + paid.output) / 1e6)
    truth = {row["id"]: row["summary"] == "simulated" for row in shell.results()}
    assert fine["rows"] == 40
    assert abs(fine["mean"] - sum(truth.values()) / 60) < 0.2
    assert fine["mean"] == fine["judged"]["alone"]

    (again,) = grade("--ask")["graders"]
    assert (again["judged"]["calls"], again["mean"]) == (0, fine["mean"])
    assert grade()["graders"][0]["mean"] == fine["mean"]  # stored opinions serve without --ask
    assert server.account.total.requests == before + 40
    whole = grade("--ask", "--sample", 60)["graders"][0]
    assert whole["judged"]["calls"] == 20  # those drawn before are drawn again
    assert whole["mean"] == pytest.approx(sum(truth.values()) / 60)

    nights = orjson.loads(grade.call("runs", "label", "--json").out)
    assert [night["status"] for night in nights] == ["graded", "graded", "graded", "finished"]
    told = " ".join(grade.call("report", "label").out.split())
    assert "Judging by grader fine, beside the total: $" in told
    assert "60 calls in 3 runs" in told
    assert "right or wrong by judge-1, 60 of 60 answers" in told
    (shell.pipeline / "prompt.j2").write_text("Sum up: {{ text }}")
    report = grade.run(server.base_url)
    assert report["changes"] == {"reused": 0, "new": 0, "changed": 60, "gone": 0}  # the judge's runs are no nights
    assert report["quality"]["drift"]["reason"] is None
    assert {version["runs"] for version in report["cost"]["by_prompt_version"]} == {1}


def test_a_budget_stops_a_judge_and_what_is_stored_is_not_lost(serve: Serve, graded: Ready) -> None:
    server = serve(world())
    grade = graded(server)
    before = server.account.total.requests
    stopped = grade.told("--ask", "--budget", "0.004", expect=4)
    assert "grader fine stopped asking: budget reached" in stopped.err
    spent = server.account.total.requests - before
    assert 0 < spent < 40
    paid = server.account.by_model["judge-1"]
    assert (paid.input + paid.output) / 1e6 <= 0.004
    assert f"{spent} of them stored" in grade.told().out
    grade("--ask")
    assert server.account.total.requests == before + 40


def test_labels_put_a_judge_right(serve: Serve, shell: Shell, graded: Ready) -> None:
    """A judge that lets half of the wrong answers pass; people do not."""
    server = serve(world(Judging(right="ANSWER: simulated$", specificity=0.5)))
    grade = graded(server)
    truth = {row["id"]: (row["summary"] == "simulated", row["llmbatch_key"]) for row in shell.results()}
    names = sorted(truth)[:30]
    rows = [
        {"id": name, "fine": "right" if truth[name][0] else "wrong", "llmbatch_key": truth[name][1]} for name in names
    ]
    shell.write("labels.jsonl", [*rows, {"id": "r59", "fine": "right", "llmbatch_key": "of another answer"}])
    found = grade("--ask", "--labels", "labels.jsonl", "--sample", 60)
    (fine,) = found["graders"]
    judged, share = fine["judged"], sum(right for right, _ in truth.values()) / 60
    assert (judged["labelled"], judged["method"]) == (30, "prediction-powered")
    assert judged["right_of_right"]["count"] == judged["right_of_right"]["of"] > 0
    assert 0 < judged["wrong_of_wrong"]["count"] < judged["wrong_of_wrong"]["of"]
    assert judged["alone"] > share + 0.08
    assert abs(fine["mean"] - share) < abs(judged["alone"] - share)
    assert fine["interval"]["low"] <= share <= fine["interval"]["high"]
    assert any("1 labels are of other answers" in note for note in found["notes"])

    shell.write("few.jsonl", rows[:5])
    assert "5 labels are too few to put it right by" in grade.told("--labels", "few.jsonl").out
    shell.write("odd.jsonl", [{"id": "r1", "fine": "so so"}])
    assert "is 'so so'" in grade.told("--labels", "odd.jsonl", expect=2).err
    shell.write("none.jsonl", [{"id": "r1", "other": 1}])
    assert "has no column named as a judge: fine" in grade.told("--labels", "none.jsonl", expect=2).err


def test_what_a_judge_fails_to_say_is_counted(serve: Serve, shell: Shell, graded: Ready) -> None:
    server = serve(world(None, Fault(kind="refusal", match="number 7:"), error_rate=0.0, invalid_rate=0.5))
    rows = [*tickets(40), {"id": "bad", "text": "BAD"}]
    grade = graded(server, JUDGE.replace("rows = 40", "rows = 40\nlimits = { max_attempts = 1 }"), rows)
    (fine,) = grade("--ask")["graders"]
    unjudged = fine["judged"]["unjudged"]
    assert set(unjudged) <= {"schema", "refusal"}
    assert 10 <= sum(unjudged.values()) <= 32
    assert fine["mean"] == pytest.approx(fine["judged"]["answered"] / 41 * (1 - sum(unjudged.values()) / 40), abs=0.02)
    assert "without a valid opinion, and counted as wrong: " in grade.told().out


def test_pairs_are_asked_twice_and_an_opinion_that_hangs_on_the_order_is_a_tie(serve: Serve, graded: Ready) -> None:
    better = Judging(right="FIRST: simulated\n", second="SECOND: simulated$", prefers_first=0.25)
    rows = [{**row, "best": "not simulated"} for row in tickets(60)]
    server = serve(world(better, error_rate=0.0))
    grade = graded(server, PAIR + 'gold = "best"\n', rows)
    (fine,) = grade("--ask")["graders"]
    judged = fine["judged"]
    assert judged["calls"] == 80
    assert 0 < judged["consistent"]["of"] - judged["consistent"]["count"] < 25
    assert judged["first"]["count"] > judged["first"]["of"] / 2
    assert fine["mean"] == pytest.approx(0.5 + judged["consistent"]["count"] / 80, abs=1e-6)  # others are ties


@pytest.mark.slow
def test_pairs_against_another_run(serve: Serve, shell: Shell, graded: Ready) -> None:
    """A new prompt's answers beside the old one's: equal answers are ties, and are not asked."""
    server = serve(world(Judging(right="FIRST: simulated\n", second="SECOND: simulated$"), error_rate=0.3))
    grade = graded(server, PAIR)
    old = {row["id"]: row["summary"] for row in shell.results()}
    assert "has nothing to compare with" in grade.told(expect=2).err
    first = orjson.loads(grade.call("runs", "label", "--json").out)[0]["run_id"]
    (shell.pipeline / "prompt.j2").write_text("Sum up: {{ text }}")
    shell.write("in.jsonl", tickets(60)[::-1])  # rows are told by their ids
    grade.run(server.base_url)
    new = {row["id"]: row["summary"] for row in shell.results()}
    differing = [name for name in new if new[name] != old[name]]
    (fine,) = grade("--ask", "--against", first, "--sample", 60)["graders"]
    assert fine["judged"]["calls"] == 2 * len(differing) > 0
    won = sum(new[name] == "simulated" for name in differing)
    assert fine["mean"] == pytest.approx((won + 0.5 * (60 - len(differing))) / 60)


def test_similarity_by_embeddings(serve: Serve, shell: Shell, graded: Ready) -> None:
    toml = """
[prices.embed-1]
input = 1
output = 0

[quality.embeddings]
model = "embed-1"

[quality.graders.near]
kind = "similarity"
field = "summary"
gold = "best"
"""
    rows = [{**row, "best": "simulated" if n % 2 else "other words"} for n, row in enumerate(tickets(40))]
    rows[0]["best"] = ""
    server = serve(world(None, Fault(kind="server_error", times=1, match="other words"), error_rate=0.0))
    grade = graded(server, toml, [*rows, {"id": "x", "text": "without gold"}])
    before = server.account.total.requests
    assert "near: not asked: embed-1 would get 78 questions" in grade.told().out
    (near,) = grade("--ask", "--budget", "0.01")["graders"]
    assert server.account.total.requests - before == 3  # each text once, and one that a fault hit again
    assert (near["judged"]["calls"], near["ungraded"], near["rows"]) == (2, 1, 40)
    paid = server.account.by_model["embed-1"]
    assert near["judged"]["cost_usd"] == pytest.approx(paid.input / 1e6)
    assert 0.5 <= near["mean"] < 0.75
    assert grade()["graders"][0]["mean"] == near["mean"]
    assert grade("--ask")["graders"][0]["judged"]["calls"] == 0


def test_a_row_and_the_page_tell_what_was_asked(serve: Serve, shell: Shell, graded: Ready) -> None:
    grade = graded(serve(world()))
    run = grade("--ask", "--sample", 60)["run_id"]
    grade("--ask", "--sample", 60, "--html", "page.html")
    page = (shell.folder / "page.html").read_text()
    assert "fine: right or wrong by judge-1, 60 of 60 answers" in page
    assert "Judging by grader fine, beside the total" in page
    facts = orjson.loads(grade.call("show", "label", "r3", "--json").out)
    assert facts["run_id"] == run
    (asked,) = facts["judged"]
    assert asked["grader"] == "fine"
    assert "ANSWER:" in asked["request"]["user_message"]
    (attempt,) = asked["attempts"]
    assert attempt["cost_usd"]
    assert "grader fine asked in run" in grade.call("show", "label", "r3").out


def test_a_page_of_a_run_without_a_report_is_refused_before_anybody_is_asked(
    serve: Serve, shell: Shell, graded: Ready
) -> None:
    server = serve(world())
    grade = graded(server)
    with duckdb.connect(str(ledger_of(shell))) as con:
        con.execute("delete from run_ends")
    before = server.account.total.requests
    command = ("--ask", "--sample", 5, "--input", "in.jsonl")
    assert "died and has no report" in grade.told(*command, "--html", "page.html", expect=2).err
    assert server.account.total.requests == before
    assert len(grade(*command)["graders"]) == 1


def test_grades_are_shown_though_the_page_cannot_be_written(serve: Serve, shell: Shell, graded: Ready) -> None:
    grade = graded(serve(world()))
    page = shell.folder / "page.html"
    page.mkdir()
    assert (
        "right or wrong by judge-1, 5 of 60 answers"
        in grade.told("--ask", "--sample", 5, "--html", page, expect=74).out
    )


def test_answers_are_not_read_beyond_the_last_row(
    serve: Serve, shell: Shell, graded: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    graded(serve(world()))
    read, lows = answers._read, []

    def seen(con: duckdb.DuckDBPyConnection, run: ledgers.Run, low: int, size: int) -> Any:
        lows.append(low)
        return read(con, run, low, size)

    monkeypatch.setattr(answers, "_read", seen)
    with closing(ledgers.connect(ledger_of(shell))) as con:
        found = ledgers.begun(con, "")
        assert found is not None
        rows = [Row(n, {}, "in.jsonl", n + 1) for n in range(found.total)]
        pairs = list(answers.answered_rows(rows, found.total, con, found.run))
    assert [row.row_no for row, answer in pairs if answer.output is not None] == list(range(60))
    assert lows == [0, 50]


def test_an_input_that_changes_between_two_passes_is_refused(serve: Serve, shell: Shell, graded: Ready) -> None:
    graded(serve(world()))
    file = shell.folder / "in.jsonl"
    pipeline, _ = usable(shell.pipeline, ())
    with closing(ledgers.connect(ledger_of(shell))) as con, open_source([str(file)], shell.folder) as source:
        found = ledgers.begun(con, "")
        assert found is not None
        stored = Stored(pipeline, found, source, checked(source, found), None, 0)
        assert len(list(stored.rows(con))) == 60
        file.write_bytes(file.read_bytes().replace(b"Ticket", b"Note"))
        with pytest.raises(InputError, match=r"in\.jsonl changed while it was graded"):
            next(stored.rows(con))
        with pytest.raises(InputError, match="its bytes differ"):
            checked(source, found)


@pytest.mark.slow
def test_who_judges_its_own_answers_is_told(serve: Serve, graded: Ready) -> None:
    server = serve(Scenario(server=Server(brain="echo"), latency=Latency(median_ms=0)))
    grade = graded(server, JUDGE.replace("judge-1", "m-1"))
    assert "models prefer their own" in grade.told("--ask", "--sample", 2).err


MISTAKES = [
    (JUDGE.replace("[quality.judge]", "[quality.judges]"), RUBRIC, "did you mean 'quality.judge'"),
    ('[quality.graders.f]\nkind = "judge"\nrubric = "rubric.md"', RUBRIC, "needs [quality.judge] with model"),
    (JUDGE + "climb_below = 0.5", RUBRIC, "too late for climb_below"),
    (JUDGE, "Is it good?", "does not show what is to be judged: it lacks {{ answer }} or {{ output }}"),
    (JUDGE, "{{ answer }} {{ text }}", "names 'text', which a rubric is not given"),
    (JUDGE, "{{ answer }} {{ reference }}", "the grader names no gold column"),
    (JUDGE, "{{ answer", "rubric.md:1"),
    (JUDGE.replace("rubric.md", "gone.md"), RUBRIC, "gone.md is missing"),
    (JUDGE.replace("rows = 40", 'provider = { kind = "offline" }'), RUBRIC, "only picks words"),
    (JUDGE.replace("rows = 40", 'provider = { kind = "embeddings" }'), RUBRIC, '"openai" or "offline"'),
    (JUDGE.replace("rows = 40", 'limits = { tier = "batch" }'), RUBRIC, "not by batches"),
    (JUDGE.replace('rubric = "rubric.md"', ""), RUBRIC, "needs rubric"),
    ('[quality.graders.n]\nkind = "similarity"\nfield = "summary"\ngold = "g"', RUBRIC, "needs [quality.embeddings]"),
]


def test_mistakes(grading: Grading) -> None:
    """Each is told before anything is sent."""
    shell, path = grading.shell, grading.shell.pipeline / "pipeline.toml"
    shell.write("in.jsonl", tickets(3))
    grading.call("run", "label", "-i", "in.jsonl", "--provider", "offline", "--quiet")
    plain = path.read_text()
    for toml, rubric, words in MISTAKES:
        path.write_text(plain + toml)
        (shell.pipeline / "rubric.md").write_text(rubric)
        assert words in grading.call("grade", "label", expect=2).err
    path.write_text(plain + JUDGE.replace("max_completion_tokens = 100", ""))
    (shell.pipeline / "rubric.md").write_text(RUBRIC)
    url = (
        "--set",
        "quality.judge.provider.base_url=http://localhost:9/v1",
        "--set",
        "quality.judge.provider.kind=openai",
    )
    assert "a bound on the answer" in grading.call("grade", "label", *url, "--ask", "--budget", "1", expect=2).err
    candidates = ("compare", "label", "-i", "in.jsonl", "--models", "a,b", *url)
    assert "names no grader" in grading.call(*candidates, expect=2).err
    assert "asked of another model" in grading.call(*candidates, "--grader", "fine", expect=2).err
    assert "no number of dollars" in grading.call("grade", "label", "--budget", "much", expect=2).err


def test_a_run_says_that_it_asked_no_judge_and_how_to_ask(serve: Serve, shell: Shell, graded: Ready) -> None:
    grade = graded(serve(world()))
    said = grade.call("report", "label").out
    assert "fine: not asked; it asks a model, and a run does not" in said
    run_id = orjson.loads((shell.folder / "results/label/report.json").read_bytes())["run_id"]
    assert f"llmbatch grade label {run_id}\n" in said
    grade("--ask", "--sample", 5)
    later = grade.call("report", "label", "--html", "page.html").out
    assert "not asked" not in later + (shell.folder / "page.html").read_text()
