"""The lockstep loop: one batch, each teacher once, then every student of the cohort."""

VERSION = 3
"""Of the training code. Raise it when a change alters results: it is part of every key, so old results are redone."""

ALIGNMENT_VERSION = 1
"""Of what teachers with another tokenizer read, and of how their tensors reach the student's tokens: part of the keys
of runs that have such teachers, and of teachers that are trained together with one."""

TEACHER_OUTPUTS_VERSION = 1
"""Of teacher tensors that are kept by example: of the pass that fills them, and of how they are read. Part of the keys
of runs that read them, and of the keys that they are kept under."""
