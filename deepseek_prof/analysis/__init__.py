"""Pure functions from an open run to frozen results. Nothing here prints."""
