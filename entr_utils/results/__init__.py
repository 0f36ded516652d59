"""Records and what may be concluded from them. No torch in this room."""
