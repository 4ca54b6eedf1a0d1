"""Arguments in, one line out: the command `bench`."""
