"""Full speed without a storm: what may be sent when. Pure state machines, and one gate that waits for them."""

from llmbatch.limits.changes import Change
from llmbatch.limits.gate import Gate, Permit
from llmbatch.limits.retry_budget import RetryBudget, backoff

__all__ = ["Change", "Gate", "Permit", "RetryBudget", "backoff"]
