"""Faces: the command line and what is shown on it. No decisions are taken here."""
