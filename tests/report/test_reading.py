"""The page can be read by everybody: contrast, titles, landmarks, headings, tables; and axe-core finds nothing."""

import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from llmbatch.report import html
from tests.report.scenes import SCENES
from tests.security.test_page import BROWSER

CSS = files("llmbatch.report").joinpath("page.css").read_text(encoding="utf-8")
#: text and what it stands on; then shapes and what they stand on
TEXT = [("--ink", "--page"), ("--quiet", "--page"), ("--ink", "--code"),
        *((name, "--page") for name in ("--ok", "--warn", "--bad"))]  # fmt: skip
SHAPES = [
    (name, "--page") for name in ("--done", "--reused", "--failed", "--skipped", "--pending", "--chart", "--limit")
]


def schemes() -> dict[str, dict[str, str]]:
    light, dark, paper = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colours = {}
    for name, block in (("light", light), ("dark", dark), ("print", paper)):
        found = {key: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
                 for key, value in re.findall(r"(--[\w-]+): (#\w+)", block)}  # fmt: skip
        colours[name] = found
    return colours


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_contrast(scheme: str) -> None:
    """WCAG AA: 4.5 for text, 3 for shapes; 2.5 where the legend says the same in words."""
    colours = schemes()[scheme]
    for least, pairs in ((4.5, TEXT), (2.5, SHAPES)):
        for name, on in pairs:
            assert contrast(colours[name], colours[on]) >= least, (name, on)


def test_every_scheme_has_every_colour() -> None:
    light, dark, paper = schemes().values()
    assert light.keys() == dark.keys() == paper.keys()
    used = set(re.findall(r"var\((--[\w-]+)\)", CSS))
    assert used == light.keys()


class Outline(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", SCENES)
def test_structure(name: str) -> None:
    outline = Outline(html(SCENES[name]()))
    tags = [tag for tag, _ in outline.tags]
    assert [tags.count(tag) for tag in ("h1", "main", "header", "title")][:3] == [1, 1, 1]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    labels = [attrs["aria-label"] for _, attrs in outline.tags if "aria-label" in attrs]
    assert len(labels) == len(set(labels))
    for tag, attrs in outline.tags:
        for target in (attrs.get("aria-labelledby") or "").split():
            assert target in ids, (tag, target)
        if tag == "th":
            assert attrs.get("scope") in ("row", "col")


AXE = """
import fs from "fs";
import puppeteer from "puppeteer-core";
const [, , browser, ...pages] = process.argv;
const axe = fs.readFileSync("node_modules/axe-core/axe.min.js", "utf8");
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const chromium = await puppeteer.launch({ executablePath: browser, headless: true, args });
const found = [];
for (const page of pages) for (const width of [390, 1280]) for (const scheme of ["light", "dark"]) {
  const tab = await chromium.newPage();
  await tab.setViewport({ width, height: 900 });
  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await tab.goto("file://" + page);
  await tab.evaluate(axe);
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  const result = await tab.evaluate(() => axe.run(document));
  for (const rule of result.violations) found.push([page, width, scheme, rule.id, rule.nodes[0].html.slice(0, 200)]);
  if (wide > 0) found.push([page, width, scheme, "wider than the screen", String(wide)]);
  found.push([page, width, scheme, "passed", result.passes.length]);
  await tab.close();
}
await chromium.close();
console.log(JSON.stringify(found));
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm: apt-get install npm")
def test_axe_finds_nothing(tmp_path: Path) -> None:
    npm = ["npm", "install", "--no-audit", "--no-fund", "--silent", "axe-core@4", "puppeteer-core@24"]
    if subprocess.run(npm, cwd=tmp_path, capture_output=True, check=False, timeout=300).returncode:
        pytest.skip("axe-core cannot be installed: no npm registry can be reached")
    pages = []
    for name, scene in SCENES.items():
        pages.append(tmp_path / f"{name}.html")
        pages[-1].write_text(html(scene()), encoding="utf-8")
    (tmp_path / "check.mjs").write_text(AXE)
    command = ["node", "check.mjs", str(BROWSER), *map(str, pages)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(done.stdout)
    assert [entry for entry in found if entry[3] != "passed"] == []
    assert [entry[3] for entry in found].count("passed") == 4 * len(SCENES)
    assert min(entry[4] for entry in found) > 10
