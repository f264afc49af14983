"""Results as a folder of Hive partitions."""

from pathlib import Path

import polars as pl

from llmbatch.sink.partitions import write_partitions


def test_partitions_hold_every_row_and_replace_the_older_ones(tmp_path: Path) -> None:
    rows = pl.DataFrame({"id": range(1000), "lang": ["de", "en", None, "a/b=c"] * 250, "label": ["x"] * 1000})
    rows.write_parquet(tmp_path / "results.parquet")
    (tmp_path / "results/lang=old").mkdir(parents=True)
    (tmp_path / "results/lang=old/0.parquet").write_bytes(b"old")
    (tmp_path / ".results.999999999.tmp").mkdir()
    folder = write_partitions(tmp_path / "results.parquet", ["lang"])
    assert folder == tmp_path / "results"
    found = pl.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).select("id", "lang", "label")
    assert found.sort("id").equals(rows)
    assert "lang" not in pl.read_parquet(next(folder.rglob("*.parquet")), hive_partitioning=False).columns
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "results.parquet"]
