"""Pipeline folders: what a user writes, loaded and checked."""

from llmbatch.pipeline.certificate import with_choice
from llmbatch.pipeline.folder import Check, Pipeline, load
from llmbatch.pipeline.toml import nearest

__all__ = ["Check", "Pipeline", "load", "nearest", "with_choice"]
