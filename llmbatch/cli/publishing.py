"""Where results are put beside, or instead of, a folder of this machine: partitions, an object store."""

from __future__ import annotations

from pathlib import Path

from llmbatch.cli.order import Order
from llmbatch.errors import UsageError
from llmbatch.sink import Target, added_columns, publish


def refuse_partitions(order: Order, target: Target) -> None:
    """Raise UsageError for columns that results cannot be split by."""
    if not order.partition_by:
        return
    if target.format != "parquet":
        raise UsageError("--partition-by writes Parquet", hint="add --format parquet")
    columns = {**target.columns, **added_columns(target.schema, target.prefix)}
    for column in order.partition_by:
        if column not in columns or columns[column].kind not in ("string", "int", "bool", "null"):
            raise UsageError(
                f"--partition-by {column}: results have no such column of text, integers or booleans",
                hint=f"they have {', '.join(list(columns)[:20])}",
            )


def partitioned(order: Order, results: Path) -> dict[str, str]:
    """Split the results if that is ordered; the folder by its name in the report."""
    if not order.partition_by:
        return {}
    from llmbatch.sink.partitions import write_partitions

    return {"partitions": str(write_partitions(results, order.partition_by))}


def addressed(order: Order, files: dict[str, str]) -> dict[str, str]:
    """The report's files, by the names that they have where they are put."""
    if order.store is None:
        return files
    folder, store = order.output_folder, order.store.rstrip("/")
    return {name: f"{store}/{Path(path).name}" if Path(path).parent == folder else path for name, path in files.items()}


def put_away(order: Order) -> None:
    """Put results and reports where they were ordered to, the report last. Raises StorageError."""
    if order.store is None:
        return
    folder = order.output_folder
    names = [path.name for path in folder.iterdir() if not path.name.startswith((".", "report."))]
    publish(folder, [*sorted(names), "report.html", "report.json"], order.store)
