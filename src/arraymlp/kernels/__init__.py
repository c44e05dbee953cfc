"""Fast training steps, one file a backend; without them the generic step does all of it."""
