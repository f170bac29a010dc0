"""Where the package meets other people's frameworks."""
