"""The only mutable shared state, and the one background thread. Never sees a driver."""
