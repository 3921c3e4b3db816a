"""The only room that knows families of models: what they can do, how they are loaded, and where their parts are."""
