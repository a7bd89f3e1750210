"""The ways in which running the pipeline ends badly."""


class InputError(ValueError):
    """What the user gave cannot be used: a stage's name, a key of params.yaml. Exit code 2."""


class PipelineError(RuntimeError):
    """The pipeline failed on good input: a stage, a server that does not start. Exit code 1."""


class StageFailed(PipelineError):
    """A stage ended with an error; the message holds what it said last."""


class StageLocked(StageFailed):
    """Another DVC process holds what the stage reads or writes; later it may be free."""
