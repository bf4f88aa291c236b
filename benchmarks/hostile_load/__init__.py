"""A benchmark that shows how the server treats its users while strangers send the worst that they may."""
