"""The Size page's views: what a variant takes, where its bytes are, what fits, a model to take away."""
