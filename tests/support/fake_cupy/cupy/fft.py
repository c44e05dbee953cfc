"""``cupy.fft``: there is none of it."""
