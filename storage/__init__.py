"""What the gateway remembers: the store, its schema, and the group commit in front of it."""
