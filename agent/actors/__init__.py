"""The actors: the only room with pykka (beside the engine). Rows hold what is true; actors make it move."""
