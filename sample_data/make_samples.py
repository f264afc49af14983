"""Compose the tickets and articles from the hand-written pieces in ``parts/``; the same bytes on each run.

Usage: ``python sample_data/make_samples.py [DIRECTORY]`` (default: the directory of this file).

Pieces are TOML. ``<<a|b>>`` in a text is a choice, ``{name}`` a slot; a body that begins with ``~`` gets no greeting.
A slot is looked up in the piece's own ``slots`` (a list of texts, or two whole numbers: a range), then among the
made-up ones below, then in ``words.<language>.toml``, then in ``words.toml``; within one row it keeps its value.
"""

from __future__ import annotations

import html
import json
import random
import re
import sys
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import polars as pl

Piece = dict[str, Any]  # one situation or story as its TOML table has it
Columns = dict[str, Any]  # one row

HERE = Path(__file__).parent
PARTS = HERE / "parts"
SEED = "quillstock-2026"

TICKETS = {"en": 177, "de": 18, "fr": 16, "es": 16, "pt": 12, "ja": 12, "zh": 12, "ar": 10, "hi": 10, "pl": 14}
ARTICLES = {"en": 106, "de": 14, "fr": 13, "es": 13, "pt": 10, "ja": 9, "zh": 8, "ar": 7, "hi": 6, "pl": 8}
LABELLED = 150
RARE = {"data_loss", "other", "performance", "security"}  # tags that keep every label they have
TWINS = 3  # tickets that came twice, because people press "send" twice
DIGESTS = 6  # newsletters made of several stories
LONGEST = 5_000  # characters of a body or an article
FIRST_DAY = date(2026, 1, 5)
DAYS = 300
TIERS = ("free", "starter", "pro", "enterprise")

TICKET_SCHEMA = {
    "id": pl.String,
    "subject": pl.String,
    "body": pl.String,
    "language": pl.String,
    "channel": pl.String,
    "created_at": pl.Datetime("ms"),
    "customer_tier": pl.Enum(TIERS),
    "gold_tags": pl.List(pl.String),
    "gold_urgency": pl.String,
}
ARTICLE_SCHEMA = {
    "id": pl.String,
    "title": pl.String,
    "text": pl.String,
    "source": pl.String,
    "published": pl.Date,
    "language": pl.String,
}


class Pen:
    """Fills in texts for one row: choices and slots."""

    CHOICE = re.compile(r"<<((?:(?!<<|>>).)*)>>", re.DOTALL)
    SLOT = re.compile(r"\{([a-z]\w*)\}")

    def __init__(self, rng: random.Random, language: str, today: date, **slots: list[Any]) -> None:
        self.rng = rng
        self.words = WORDS[""] | WORDS[language]
        self.today = today
        self.slots = slots
        self.values: dict[str, str] = {}

    def write(self, text: str) -> str:
        """The text with every choice made and every slot filled."""
        text = self.CHOICE.sub(lambda match: self.rng.choice(match[1].split("|")), text)
        return self.SLOT.sub(lambda match: self.value(match[1]), text)

    def value(self, name: str) -> str:
        """A slot's value: digits are new each time, anything else is remembered."""
        if re.fullmatch(r"d\d", name):
            return "".join(str(self.rng.randint(1, 9)) for _ in range(int(name[1])))
        if name not in self.values:
            self.values[name] = self.invent(name)
        return self.values[name]

    def invent(self, name: str) -> str:
        if name == "date":
            return (self.today - timedelta(days=self.rng.randint(1, 20))).strftime(self.words["date_format"])
        if name == "time":
            return f"{self.rng.randint(7, 18):02}:{self.rng.randint(0, 59):02}"
        if name == "mailbox":
            return mailbox(self.value("first"), self.value("last"), self.value("d4"))
        if match := re.fullmatch(r"(log|csv)_(\d+)", name):
            return self.lines(match[1], int(match[2]))
        options = self.slots.get(name) or self.words[name]
        if isinstance(options[0], int):
            return str(self.rng.randint(*options))
        return self.write(self.rng.choice(options))

    def lines(self, kind: str, number: int) -> str:
        """So many lines of a log (with a clock that runs) or of an export."""
        clock = datetime.combine(self.today, datetime.min.time()) + timedelta(seconds=self.rng.randint(20_000, 70_000))
        made = []
        for _ in range(number):
            clock += timedelta(milliseconds=self.rng.randint(3, 9_000))
            stamp = clock.isoformat(timespec="milliseconds") + "Z " if kind == "log" else ""
            made.append(stamp + self.write(self.rng.choice(self.words[kind + "_line"])))
        return "\n".join(made)


def mailbox(first: str, last: str, digits: str) -> str:
    """An invented address at example.com."""
    plain = unicodedata.normalize("NFKD", f"{first}.{last}").encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z.]", "", plain).strip(".") or f"user{digits}"
    return f"{name}@example.com"


def read(name: str) -> Iterator[Piece]:
    """The pieces of a kind in all languages, each with its ``language``: ``tickets`` reads ``tickets.en.1.toml``..."""
    for path in sorted(PARTS.glob(f"{name}.*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        yield from ({"language": path.name.split(".")[1], **piece} for piece in table["piece"])


def read_words() -> dict[str, Piece]:
    """Word lists by language; under "" those of every language."""
    paths = {"": PARTS / "words.toml"} | {path.name.split(".")[1]: path for path in PARTS.glob("words.*.toml")}
    return {language: tomllib.loads(path.read_text(encoding="utf-8")) for language, path in paths.items()}


WORDS = read_words()


def dress(body: str, channel: str, pen: Pen) -> str:
    """A mail has a greeting and a signature, often a tail, a quoted answer or HTML as well; a body after ~ has none."""
    if body.startswith("~") or channel not in ("email", "web"):
        return body.removeprefix("~")
    chance = pen.rng.random
    parts = [pen.write("{greeting}")] * (chance() < 0.8) + [body]
    if channel == "email":
        parts += [pen.write("{signoff}")] * (chance() < 0.85)
        parts += [pen.write("{tail}")] * (chance() < 0.3)
        parts += [pen.write("{quoted}")] * (chance() < 0.18)
    text = "\n\n".join(parts)
    if channel == "email" and chance() < 0.12:
        text = f"<html><body><div>{html.escape(text, quote=False)}</div></body></html>".replace("\n", "<br>\n")
    return text


def ticket(piece: Piece, body: str, turn: int, rng: random.Random) -> Columns:
    """One ticket of a situation, without an id."""
    del turn  # a body stays whole however often it is used
    day = FIRST_DAY + timedelta(days=rng.randrange(DAYS))
    channel = rng.choice(piece.get("channel", ["email", "email", "web", "chat"]))
    tier = rng.choice(piece.get("tier", TIERS[1:] if piece.get("paid") else TIERS))
    pen = Pen(rng, piece["language"], day, **{"plan": [tier.title()], **piece.get("slots", {})})
    return {
        "subject": pen.write(rng.choice(piece["subject"])),
        "body": dress(pen.write(body), channel, pen),
        "language": piece["language"],
        "channel": channel,
        "created_at": datetime.combine(day, datetime.min.time()) + timedelta(seconds=rng.randint(18_000, 75_000)),
        "customer_tier": tier,
        "gold_tags": piece.get("tags"),
        "gold_urgency": piece.get("urgency"),
    }


def article(piece: Piece, text: str, turn: int, rng: random.Random) -> Columns:
    """One article: at first the whole story, later its beginning or its brief."""
    if turn:
        opening = "\n\n".join(text.split("\n\n")[: rng.randint(1, 3)])
        text = rng.choice([opening, *piece["text"][1:]])
    day = FIRST_DAY + timedelta(days=rng.randrange(*piece.get("days", (0, DAYS))))
    pen = Pen(rng, piece["language"], day, **piece.get("slots", {}))
    return {
        "title": pen.write(rng.choice(piece["title"])),
        "text": pen.write(text),
        "source": pen.write("{source}"),
        "published": day,
        "language": piece["language"],
    }


def digest(stories: list[Columns], rng: random.Random) -> Columns:
    """A newsletter in Markdown: the openings of some stories."""
    chosen = rng.sample(stories, rng.randint(4, 8))
    parts = ["Good morning! Here is what you need to know today. ☕"]
    parts += [f"## {story['title']}\n\n" + "\n\n".join(story["text"].split("\n\n")[:3]) for story in chosen]
    parts += ["---\n*You receive this mail because you signed up for it. [Unsubscribe](https://news.example.com/bye)*"]
    day = max(story["published"] for story in chosen)
    return {
        **chosen[0],
        "title": f"Morning briefing: {day:%A, %B} {day.day}",
        "text": "\n\n".join(parts),
        "published": day,
    }


def vary(
    texts: list[tuple[Piece, str]], build: Callable[[Piece, str, int, random.Random], Columns], rng: random.Random
) -> Iterator[Columns]:
    """A row of every text in random order, then of every text that can turn out differently, and so on."""
    for turn in count():
        again = [(piece, text) for piece, text in texts if turn == 0 or not piece.get("once")]
        rng.shuffle(again)
        yield from (build(piece, text, turn, rng) for piece, text in again)


def unlike(rows: Iterable[Columns], field: str) -> Iterator[Columns]:
    """The rows whose text has not been seen yet and is not too long."""
    seen: set[str] = set()
    for row in rows:
        if row[field] not in seen and len(row[field]) <= LONGEST:
            seen.add(row[field])
            yield row


def numbered(rows: list[Columns], by: str, pattern: str, first: int) -> list[Columns]:
    """The rows in order of time, with ids."""
    ordered = sorted(rows, key=lambda row: row[by])
    return [{"id": pattern.format(number), **row} for number, row in enumerate(ordered, first)]


def tickets() -> list[Columns]:
    """All tickets. The labels of those beyond LABELLED are taken off again."""
    pieces = list(read("tickets"))
    rows: list[Columns] = []
    for language, number in TICKETS.items():
        texts = [(piece, body) for piece in pieces if piece["language"] == language for body in piece["body"]]
        rng = random.Random(f"{SEED}/tickets/{language}")
        rows += islice(unlike(vary(texts, ticket, rng), "body"), number)
    rng = random.Random(f"{SEED}/labels")
    labelled = [row for row in rows if row["gold_tags"]]
    spare = [row for row in labelled if RARE.isdisjoint(row["gold_tags"])]
    for row in rng.sample(spare, len(labelled) - LABELLED):
        row.update(gold_tags=None, gold_urgency=None)
    rows += [{**row, "created_at": row["created_at"] + timedelta(seconds=97)} for row in rng.sample(rows, TWINS)]
    return numbered(rows, "created_at", "T-{}", 10001)


def articles() -> list[Columns]:
    """All articles."""
    pieces = list(read("articles"))
    rows: list[Columns] = []
    for language, number in ARTICLES.items():
        texts = [(piece, piece["text"][0]) for piece in pieces if piece["language"] == language]
        rng = random.Random(f"{SEED}/articles/{language}")
        rows += islice(unlike(vary(texts, article, rng), "text"), number)
    rng = random.Random(f"{SEED}/digests")
    stories = [row for row in rows if row["language"] == "en" and len(row["text"]) > 500]
    newsletters = (digest(stories, rng) for _ in count())
    rows += islice(unlike(newsletters, "text"), DIGESTS)
    return numbered(rows, "published", "A-{}", 2001)


def write(rows: list[Columns], schema: dict[str, Any], stem: Path) -> None:
    """The rows as JSONL (dates and times as ISO 8601 text) and as Parquet (with their types)."""
    lines = (json.dumps(row, ensure_ascii=False, default=lambda moment: moment.isoformat()) + "\n" for row in rows)
    stem.with_suffix(".jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
    pl.DataFrame(rows, schema=schema).write_parquet(stem.with_suffix(".parquet"), compression="zstd")


def make(directory: Path) -> None:
    """Write the four files."""
    write(tickets(), TICKET_SCHEMA, directory / "tickets")
    write(articles(), ARTICLE_SCHEMA, directory / "articles")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
