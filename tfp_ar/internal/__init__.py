"""Private helpers: argument checks, batch shapes, variable tracking, compilation."""
