"""Audio data sets as integer tokens: quantisation, sources, splits, the token cache."""
