"""What was decided and what came of it, as facts, and the reports made of them. Nothing is measured or decided here."""
