"""Where flags and breakers are kept: documents with revisions, in memory, in a file, elsewhere. Knows no runtime."""
