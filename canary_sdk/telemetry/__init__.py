"""Where events go: the log, and whatever else an operator reads."""
