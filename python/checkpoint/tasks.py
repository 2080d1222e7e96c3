"""Which of transformers' classes serves which task.

transformers lists, for every task it knows, the class of each model type. A task is named after
its list ("masked-lm" for `MODEL_FOR_MASKED_LM_MAPPING_NAMES`); the tasks that export.py treats in
a way of its own have shorter names and may draw on several lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

OWN_TASKS: dict[str, tuple[str, ...]] = {
    "causal-lm": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",),
    "seq2seq": (
        "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
        "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    ),
    "ctc": ("MODEL_FOR_CTC_MAPPING_NAMES",),
    "classification": (
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
        "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
        "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES",
        "MODEL_FOR_TIME_SERIES_CLASSIFICATION_MAPPING_NAMES",
    ),
    "base": ("MODEL_MAPPING_NAMES",),
}
"""The lists of each task that a request may name and a class serves, the preferred first."""

# Lists that say nothing about what a class does.
_VAGUE = {"MODEL_FOR_PRETRAINING_MAPPING_NAMES", "MODEL_FOR_RETRIEVAL_MAPPING_NAMES"}
_LIST_NAME = re.compile(r"MODEL_FOR_(\w+?)(?:_MAPPING)?_NAMES")


def classes_for(task: str, model_type: str) -> list[str]:
    """Names of the classes that serve `task` for `model_type`, the preferred first."""
    found: list[str] = []
    for name in _lists_of(task):
        entry = _list(name).get(model_type, ())
        found.extend(entry if isinstance(entry, (tuple, list)) else (entry,))
    return list(dict.fromkeys(found))


def task_of(architecture: str) -> str:
    """The task that a class serves: "base" for one without a head."""
    for task in OWN_TASKS:
        for name in _lists_of(task):
            if any(_names(entry, architecture) for entry in _list(name).values()):
                return task
    for task, name in _other_lists():
        if any(_names(entry, architecture) for entry in _list(name).values()):
            return task
    _, _, purpose = architecture.partition("For")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", purpose).lower() or "base"


def classes_of(model_type: str) -> dict[str, str]:
    """Every class that transformers lists for `model_type`, with the task that it serves."""
    found: dict[str, str] = {}
    tasks = [(task, name) for task in OWN_TASKS for name in _lists_of(task)]
    for task, name in [*tasks, *_other_lists()]:
        entry = _list(name).get(model_type, ())
        for architecture in entry if isinstance(entry, (tuple, list)) else (entry,):
            found.setdefault(architecture, task)
    return found


def _lists_of(task: str) -> tuple[str, ...]:
    task = {"causal-lm-with-past": "causal-lm", "feature-extraction": "base"}.get(task, task)
    if task in OWN_TASKS:
        return OWN_TASKS[task]
    return tuple(name for other, name in _other_lists() if other == task)


def _other_lists() -> Iterator[tuple[str, str]]:
    """The tasks without a name of their own here, with their lists."""
    from transformers.models.auto import modeling_auto

    own = {name for names in OWN_TASKS.values() for name in names} | _VAGUE
    for name in vars(modeling_auto):
        match = _LIST_NAME.fullmatch(name)
        if match and name not in own:
            yield match[1].lower().replace("_", "-"), name


def _list(name: str) -> dict[str, str | tuple[str, ...]]:
    from transformers.models.auto import modeling_auto

    return getattr(modeling_auto, name)


def _names(entry: str | tuple[str, ...], architecture: str) -> bool:
    return architecture == entry or (not isinstance(entry, str) and architecture in entry)
