"""How a run drives its requests; one signature, one ledger, the same keys."""
