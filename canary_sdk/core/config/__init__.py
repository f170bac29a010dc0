"""A configuration, from plain data to values, with every mistake named at once."""
