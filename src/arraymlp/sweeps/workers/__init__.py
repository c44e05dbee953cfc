"""The training of a sweep's stacks by the workers of an executor of ``concurrent.futures``."""
