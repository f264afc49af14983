"""Say whether a reply may serve a row: finish reason, refusal, JSON, schema, the user's check. Pure."""

from llmbatch.validate.judge import FINAL, FLOOR, Floor, Judge, output_of, reask_turns
from llmbatch.validate.schema import check_schema, output_fields

__all__ = ["FINAL", "FLOOR", "Floor", "Judge", "check_schema", "output_fields", "output_of", "reask_turns"]
