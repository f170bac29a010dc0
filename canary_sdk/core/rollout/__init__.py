"""How a release moves from stage to stage, and what is written down of it."""
