"""Log files in, raw Delta tables out: exactly once, every line accounted for."""
