"""What is raised where an executor, or a worker of it, cannot train."""


class ExecutorError(RuntimeError):
    """An executor, or one of its workers, cannot train; the message says which, and why."""
