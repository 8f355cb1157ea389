"""Models: a vision network, a language model and a recommender, small enough to learn within seconds."""
