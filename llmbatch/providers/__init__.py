"""What answers requests: one file a provider, one for the wrappers around them."""
