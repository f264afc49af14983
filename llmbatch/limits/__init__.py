"""Full speed without a storm: what may be sent when. Pure state machines, and one gate that waits for them."""

from llmbatch.limits.changes import Change
from llmbatch.limits.gate import Gate, Permit
from llmbatch.limits.retry_budget import RetryBudget, backoff
from llmbatch.limits.state import LimitState

__all__ = ["Change", "Gate", "LimitState", "Permit", "RetryBudget", "backoff"]
