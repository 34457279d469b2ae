"""Training in lockstep: for each batch, every teacher once, then a step of every student of the cohort."""

VERSION = 3
"""Version of the training code, part of every key. Raise it with any change that alters results: they are redone."""

ALIGNMENT_VERSION = 1
"""Version of tokenization and alignment for teachers with another tokenizer than the student's. Part of the keys of
runs with such teachers, and of teachers that are trained together with one."""

ANSWER_ALIGNMENT_VERSION = 2
"""The same for question answering, whose logits have an alignment of their own."""

TEACHER_OUTPUTS_VERSION = 1
"""Version of cached teacher outputs: of how they are computed, stored and read. Part of the keys of runs that read
them, and of the cache entries."""

MULTILABEL_WEIGHTS_VERSION = 2
"""Version of the class weights of multilabel tasks (`harness.tasks.class_weights`). Part of the keys of runs and
teachers on tasks with such weights."""

TEXT_STAGE_MODULES_VERSION = 1
"""Version of the modules with which runs continue after a text stage: of what is stored and loaded. Part of the keys of
text stages of methods with modules; keys without it are of a version that started these runs with new modules."""
