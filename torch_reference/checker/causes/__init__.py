"""Why a gradient is wrong: one small function for each cause. NumPy alone, never the functions of the user."""
