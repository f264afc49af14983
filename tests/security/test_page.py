"""The HTML report in a real browser: nothing in it runs, and nothing is asked for."""

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llmbatch import report as reports
from llmbatch.report import LimitChange, RunFacts, build
from llmbatch.tally import Tally
from llmbatch.types import Outcome, Status
from tests.cli.conftest import Shell
from tests.report.runs import answered, facts, reply
from tests.security.parrot import Said, completion, parrot

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
browser_test = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")

#: each would retitle the page, or ask our server for something, if it were more than text
PAYLOADS = [
    "<script>document.title='pwned'</script>",
    "</title><script>document.title='pwned'</script>",
    "</style><script>document.title='pwned'</script>",
    '"><img src=URL/img onerror="document.title=\'pwned\'">',
    "'><svg/onload=document.title='pwned'>",
    "<iframe srcdoc=\"<script>parent.document.title='pwned'</script>\"></iframe>",
    "<meta http-equiv=refresh content='0;url=URL/meta'>",
    "<link rel=stylesheet href=URL/css><style>@import 'URL/import';*{background:url(URL/bg)}</style>",
    "<base href=URL/><form action=URL/form><input autofocus onfocus=document.title='pwned'>",
    "<object data=URL/object></object><embed src=URL/embed><video src=URL/video><audio src=URL/audio>",
    "javascript:document.title='pwned'",
    "{{ 7*7 }}{% include '/etc/passwd' %}",
    "--><!--><script>document.title='pwned'</script>",
    "\u003cscript\u003edocument.title='pwned'\u003c/script\u003e",
    "&lt;script&gt;document.title='pwned'&lt;/script&gt;",
    "</pre></code><script>fetch('URL/fetch')</script>",
]


def opened(page: Path) -> str:
    """The page's document after everything in it had time to run."""
    assert BROWSER is not None
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += [f"--user-data-dir={page.parent / 'browser'}", "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def title_of(document: str) -> str:
    found = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def spoilt_run(text: str) -> Tally:
    tally = Tally()
    tally.planned(3)
    answered(tally, reply(text, cost=None))
    tally.finished(Outcome(0, Status.FAILED, failure=text), None)
    tally.finished(Outcome(1, Status.SKIPPED, failure=text), None)
    tally.noted(text)
    return tally


def spoilt_facts(text: str) -> RunFacts:
    return facts(
        run_id=text,
        pipeline=text,
        label=text,
        model=text,
        status=text,
        price_source=text,
        input=(text,),
        files={text: text},
        command=("llmbatch", text),
        limit_changes=(LimitChange(0.0, text, 1, text),),
        structured_output=text,
        exit_code=5,
    )


@browser_test
def test_no_payload_in_any_field_runs_or_asks_for_anything(tmp_path: Path) -> None:
    with parrot(lambda _: Said(200, {})) as server:
        url = server.base_url.removesuffix("/v1")
        text = " ".join(PAYLOADS).replace("URL", url)
        page = tmp_path / "page.html"
        page.write_text(reports.html(build(spoilt_run(text), spoilt_facts(text))), encoding="utf-8")
        document = opened(page)
        asked = server.asked
    assert title_of(document).startswith(text[:100])
    assert not re.search(r"<(script|img|iframe|object|embed|video|audio|link|base|form|input)\b", document)
    assert asked == []


@browser_test
def test_the_browser_would_have_run_and_asked(tmp_path: Path) -> None:
    """The test above can fail: a page that escapes nothing and has no policy is taken over."""
    with parrot(lambda _: Said(200, {})) as server:
        url = server.base_url.removesuffix("/v1")
        page = tmp_path / "page.html"
        page.write_text(f"<!doctype html><title>mine</title>{PAYLOADS[0]}{PAYLOADS[3]}".replace("URL", url))
        document = opened(page)
        asked = server.asked
    assert title_of(document) == "pwned"
    assert asked == ["GET /img"]


@browser_test
def test_the_policy_alone_stops_both(tmp_path: Path) -> None:
    """Were something not escaped, the page's policy would still let nothing run and nothing be fetched."""
    with parrot(lambda _: Said(200, {})) as server:
        url = server.base_url.removesuffix("/v1")
        source = reports.html(build(spoilt_run("x"), spoilt_facts("x")))
        page = tmp_path / "page.html"
        unescaped = " ".join(p for p in PAYLOADS if "refresh" not in p and "<base" not in p).replace("URL", url)
        page.write_text(source.replace("<main>", f"<main>{unescaped}"), encoding="utf-8")
        document = opened(page)
        asked = server.asked
    assert "pwned" not in title_of(document)
    assert asked == []


@browser_test
def test_the_page_of_a_real_run(shell: Shell) -> None:
    payload = " ".join(PAYLOADS)
    shell.write("in.jsonl", [{"id": payload, "text": f"{n}: {payload}"} for n in range(1)])
    toml = shell.pipeline / "pipeline.toml"
    toml.write_text("label = '''" + payload.replace("'''", "") + "'''\n" + toml.read_text())
    body = completion('{"summary": "fine"}') | {"model": payload}
    with parrot(lambda _: Said(200, body)) as server:
        shell.run("-i", "in.jsonl", url=server.base_url)
    document = opened(shell.folder / "results/label/report.html")
    assert title_of(document) == "label: Finished: 1 of 1 row valid."
    assert "document.title" in document
