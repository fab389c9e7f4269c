"""How well a model predicts text and answers, alone and beside another one: on our engine, with NumPy, never torch."""
