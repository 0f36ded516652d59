"""Images: which, from where, how split, where they stay."""
