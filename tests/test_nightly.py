"""docs/nightly: what other schedulers are given, run or checked as far as it can be here."""

import re
import shlex
import shutil
import subprocess
import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from llmbatch.cli.order import Order
from llmbatch.cli.signals import GRACE_S
from llmbatch.errors import Exit
from llmbatch.outside.otlp import FLUSH_S
from llmbatch.simulator import Scenario
from tests.cli.conftest import Serve, Shell, serve, shell
from tests.pages import BIN, ROOT, blocks, table

__all__ = ["serve", "shell"]
NIGHTLY = ROOT / "docs/nightly"
FINAL = {1, 2, 3, 4, 5, 7}
PRICED = '\n[prices."m-1"]\ninput = 0.25\noutput = 2.0\n'


def advised(words: str) -> set[int]:
    return {
        int(status)
        for status, _, advice in table(ROOT / "docs/nightly.md", "What the exit status means at 7 a.m.")
        if advice == words
    }


def test_every_status_has_its_advice() -> None:
    statuses = {code.value for code in Exit}
    told, again, nothing = advised("tell somebody"), advised("try again"), advised("do nothing")
    assert (told, nothing) == (FINAL, {0, 75})
    assert told | again | nothing == statuses


def test_the_pages_show_the_crontab() -> None:
    lines = [line for line in (NIGHTLY / "crontab").read_text().splitlines() if not line.startswith("#")]
    for page in (ROOT / "README.md", ROOT / "docs/nightly.md"):
        (block,) = blocks(page, "crontab")
        assert block.text.splitlines() == lines


# cron


@pytest.fixture
def nightly(shell: Shell, serve: Serve, tmp_path: Path) -> Path:
    """What stands in /srv/nightly."""
    folder = tmp_path / "srv/nightly"
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/llmbatch").symlink_to(BIN / "llmbatch")
    (folder / "in").mkdir()
    shutil.copytree(shell.pipeline, folder / "pipelines/tag")
    with (folder / "pipelines/tag/pipeline.toml").open("a") as toml:
        toml.write(PRICED)
    (folder / "env").write_text(f"export OPENAI_API_KEY=sk-x OPENAI_BASE_URL={serve(Scenario()).base_url}\n")
    return folder


def by_cron(folder: Path) -> subprocess.CompletedProcess[str]:
    """The crontab's command as cron starts it: hardly an environment, no terminal, nothing on standard input."""
    *_, line = (NIGHTLY / "crontab").read_text().splitlines()
    match = re.fullmatch(r"([\d*,/-]+ ){5} *(.*)", line)
    assert match is not None
    assert "%" not in match[2]
    return subprocess.run(
        ["/bin/sh", "-c", match[2].replace("/srv/nightly", str(folder))],
        env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        start_new_session=True,
    )  # fmt: skip


def test_cron_mails_only_what_went_wrong(nightly: Path) -> None:
    failed = by_cron(nightly)
    assert (failed.stdout, failed.stderr) == (f"llmbatch: exit 2, see {nightly}/tag.log\n", "")
    assert "in/*.jsonl" in (nightly / "tag.log").read_text()
    (nightly / "in/tuesday.jsonl").write_text('{"id": "a", "text": "caf\\u00e9 \u00e9"}\n', encoding="utf-8")
    done = by_cron(nightly)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    log = (nightly / "tag.log").read_text()
    assert len(re.findall(r"^llmbatch: .* exit=0$", log, re.MULTILINE)) == 1
    assert "Finished: 1 of 1 row valid" in log
    assert (nightly / "results/tag/results.jsonl").is_file()


# systemd


def unit(name: str) -> dict[str, list[str]]:
    pairs = [line.split("=", 1) for line in (NIGHTLY / name).read_text().splitlines() if re.match(r"[A-Z]\w+=", line)]
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def test_systemd_tries_again_what_may_have_passed() -> None:
    service = unit("llmbatch.service")
    assert {int(code) for code in service["RestartPreventExitStatus"][0].split()} == FINAL
    assert int(service["TimeoutStopSec"][0]) >= longest_end()
    assert unit("llmbatch.timer")["Persistent"] == ["true"]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze here")
    for name in ("llmbatch.service", "llmbatch.timer"):
        text = (NIGHTLY / name).read_text()
        for old, new in (("/srv/nightly/.venv/bin", BIN), ("/srv/nightly", tmp_path), ("User=nightly", "User=root")):
            text = text.replace(str(old), str(new))
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in ("llmbatch.service", "llmbatch.timer")]
    done = subprocess.run([verify, "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "llmbatch." not in done.stderr, done.stderr


# Kubernetes


def manifests() -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all((NIGHTLY / "cronjob.yaml").read_text())}


def test_the_manifests_fit_kubernetes_schemas() -> None:
    for manifest in manifests().values():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    broken = manifests()["CronJob"]
    broken["spec"]["jobTemplate"]["spec"]["backofLimit"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_what_kubernetes_does_by_exit_status() -> None:
    found = manifests()
    cron = found["CronJob"]["spec"]
    job = cron["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    (final,) = [rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert (set(final["values"]), final["operator"], final["containerName"]) == (FINAL, "In", container["name"])
    assert pod["restartPolicy"] == "Never"  # the policy's condition
    assert cron["concurrencyPolicy"] == "Forbid"
    assert job["backoffLimit"] > 0
    assert pod["terminationGracePeriodSeconds"] >= longest_end()
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    claims = [
        volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume
    ]
    assert claims == [found["PersistentVolumeClaim"]["metadata"]["name"]]
    words = [*container["command"], *container["args"]]
    assert words[0] == "llmbatch"
    understood(words[1:])


def longest_end() -> float:
    """Seconds from SIGTERM to the end: calls in flight, telemetry, --on-finish; and 30 s for the results."""
    return GRACE_S + FLUSH_S + float(Order(Path(), ()).on_finish_timeout.rstrip("s")) + 30


def understood(words: list[str]) -> None:
    """The command line parses."""
    from typer import Typer
    from typer.main import get_command

    from llmbatch.cli.run import run

    app = Typer()
    app.command()(run)
    get_command(app).make_context("run", words[1:])


def test_every_command_parses() -> None:
    (line,) = unit("llmbatch.service")["ExecStart"]
    understood(shlex.split(line)[1:])


# Airflow


class AirflowException(Exception): ...


class AirflowSkipException(AirflowException): ...


class AirflowFailException(AirflowException): ...


class BashOperator:
    """As Airflow's: a process by bash, and its exit status as an exception."""

    made: ClassVar[list["BashOperator"]] = []

    def __init__(self, *, bash_command: str, cwd: str, skip_on_exit_code: int, retries: int, **rest: Any) -> None:
        assert isinstance(rest["retry_delay"], timedelta)
        self.bash_command, self.skip, self.retries = bash_command, skip_on_exit_code, retries
        self.made.append(self)

    def execute(self, context: object) -> str:
        done = subprocess.run(["bash", "-c", self.bash_command], capture_output=True, text=True, check=False)
        if done.returncode == self.skip:
            raise AirflowSkipException(f"Bash command returned exit code {self.skip}. Skipping.")
        if done.returncode != 0:
            words = f"Bash command failed. The command returned a non-zero exit code {done.returncode}."
            raise AirflowException(words)
        return done.stdout


class DAG:
    def __init__(self, dag_id: str, **facts: object) -> None:
        self.facts = facts

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_the_dag_on_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins: dict[str, dict[str, object]] = {
        "airflow": {},
        "airflow.exceptions": {kind.__name__: kind for kind in
                               (AirflowException, AirflowSkipException, AirflowFailException)},
        "airflow.providers.standard.operators.bash": {"BashOperator": BashOperator},
        "airflow.sdk": {"DAG": DAG},
    }  # fmt: skip
    for name, content in stand_ins.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(BashOperator, "made", [])
    source = NIGHTLY / "dag.py"
    exec(compile(source.read_text(), source, "exec"), {"__name__": "dag"})
    (operator,) = BashOperator.made
    understood(shlex.split(operator.bash_command.removeprefix("exec "))[1:])
    for code in Exit:
        operator.bash_command = f"exec sh -c 'exit {code.value}'"
        if code is Exit.OK:
            operator.execute({})
            continue
        with pytest.raises(AirflowException) as error:
            operator.execute({})
        kind = {True: AirflowFailException, False: AirflowException}[code.value in FINAL]
        assert type(error.value) is (AirflowSkipException if code is Exit.LOCKED else kind), code
