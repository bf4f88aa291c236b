"""Shows what it costs that clients read how their jobs stand: polls, event streams and long polls."""
