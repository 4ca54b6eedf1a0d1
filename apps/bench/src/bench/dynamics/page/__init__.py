"""Page and table of a study."""
