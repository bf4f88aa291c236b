"""Shows how the server treats its users while strangers send the worst that the limits permit."""
