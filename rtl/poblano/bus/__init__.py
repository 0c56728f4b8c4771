"""What joins the tiles: the bus of their results."""
