"""One job from start to end: its cells are trained and probed one after another, on one GPU slot."""
