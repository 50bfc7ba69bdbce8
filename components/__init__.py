"""What several pages have in common: the choices, the frame with its errors, pictures, the queue of runs."""
