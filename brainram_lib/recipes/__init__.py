"""How the shipped models of the embedded world are trained, and what they reach."""
