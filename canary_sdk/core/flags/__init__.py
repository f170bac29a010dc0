"""What a flag is, who gets what of it, and why."""
