"""What a GPU makes of the models' work, in five minutes and without a server."""
