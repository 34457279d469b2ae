import re
import subprocess
import sys
from collections import Counter
from itertools import combinations, product

import pytest

from harness.metrics.entity_spans import entities
from harness.tasks.fingerprints import fingerprint
from harness.tasks.synthetic.entailment import KINDS
from harness.tasks.synthetic.fact_qa import KINDS as THINGS
from harness.tasks.synthetic.generated_tasks import (
    ENTAILMENT,
    NAMES,
    NOISE,
    NOISY_ENTAILMENT,
    NOISY_SENTIMENT,
    PRAISE,
    QA,
    SENTIMENT,
    harness_register_tasks,
)
from harness.tasks.synthetic.sentiment import BAD, GOOD

TASKS = (SENTIMENT, ENTAILMENT, NOISY_SENTIMENT, NOISY_ENTAILMENT, PRAISE, NAMES, QA)


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: task.name)
def loaded(request):
    return request.param, request.param.load(None)


def content(dataset):
    return [repr({**row, "id": None}) for row in dataset]


def test_all_are_registered_as_synthetic():
    registered = []
    harness_register_tasks(registered.append)
    assert registered == list(TASKS)
    assert all(task.synthetic and task.source is None for task in registered)


def test_examples_are_unique_across_splits(loaded):
    _, splits = loaded
    train, validation = content(splits.train), content(splits.validation["validation"])
    assert len(train) >= 3000
    assert len(validation) >= 500
    assert len({*train, *validation}) == len(train) + len(validation)


def test_classes_are_balanced(loaded):
    task, splits = loaded
    if task.kind != "classification":
        return
    for part in (splits.train, splits.validation["validation"]):
        assert set(Counter(part["label"]).values()) == {len(part) // 2}


def test_the_same_in_every_process_and_release(loaded):
    task, splits = loaded
    expected = {
        "synthetic_sentiment": "1a1f7504d77c3421",
        "synthetic_entailment": "05d4034b2966b864",
        "synthetic_sentiment_noisy": "78277a65020b57f0",
        "synthetic_entailment_noisy": "b8b38ac639c90154",
        "synthetic_praise": "2876bf54926c57f0",
        "synthetic_names": "71b5f43fbb37b80c",
        "synthetic_qa": "cbed9e5f1fd86d3c",
    }[task.name]
    assert fingerprint(splits.train) == expected


def sentiment(text: str) -> bool:
    """An independent implementation of the label."""
    main = text.split(" but ")[-1]
    main = main.split(" , ")[-1] if main.startswith("although ") else main.split(" although ")[0]
    words = main.split()
    assert words[-1] in GOOD + BAD
    return (words[-1] in GOOD) != bool({"not", "never"} & set(words))


def test_sentiment_labels_match_an_independent_implementation():
    for row in SENTIMENT.load(None).train:
        assert row["label"] == sentiment(row["text"]), row


@pytest.mark.parametrize(("clean", "noisy"), [(SENTIMENT, NOISY_SENTIMENT), (ENTAILMENT, NOISY_ENTAILMENT)])
def test_only_training_labels_are_noisy(clean, noisy):
    right, wrong = clean.load(None), noisy.load(None)
    text = "text_pair" if clean.paired else "text"
    assert wrong.train[text] == right.train[text]
    for label in (0, 1):
        given = [
            after for before, after in zip(right.train["label"], wrong.train["label"], strict=True) if before == label
        ]
        assert given.count(1 - label) == NOISE * len(given)
    assert content(wrong.validation["validation"]) == content(right.validation["validation"])


def members(word: str, root: str, special: str) -> set[str]:
    """Members of a kind: a world has one thing of the special kind, and another of the same general kind."""
    return {special, f"other {root}"} if word == root else {special}


def holds(sentence: list[str], world: set[tuple[str, str]], subjects: set[str], objects: set[str]) -> bool:
    """Whether a sentence is true in `world`, a set of (subject, object); "do not" means no object."""
    acts = [any((subject, item) in world for item in objects) != ("not" in sentence) for subject in subjects]
    return {"all": all(acts), "some": any(acts), "no": not any(acts)}[sentence[0]]


def follows(premise: list[str], hypothesis: list[str]) -> bool:
    """Whether the hypothesis is true in every world in which the premise is true."""
    places = []
    for words in ((premise[1], hypothesis[1]), (premise[-1], hypothesis[-1])):
        root = next(root for root, kinds in KINDS.items() if words[0] in (root, *kinds))
        special = next((word for word in words if word != root), KINDS[root][0])
        places.append([members(word, root, special) for word in words])
    (subjects, new_subjects), (objects, new_objects) = places
    pairs = list(product(subjects | new_subjects, objects | new_objects))
    worlds = (set(world) for size in range(len(pairs) + 1) for world in combinations(pairs, size))
    return all(holds(hypothesis, w, new_subjects, new_objects) for w in worlds if holds(premise, w, subjects, objects))


def test_entailment_labels_match_all_small_worlds():
    for row in ENTAILMENT.load(None).train:
        assert row["label"] == (not follows(row["text"].split(), row["text_pair"].split())), row


def test_answers_are_at_their_start_and_unique():
    needs_person = 0
    for row in QA.load(None).train:
        (answer,) = row["answers"]
        assert row["context"][answer["start"] :].startswith(answer["text"] + " ")
        kind, person = re.fullmatch(r"which (\w+) did (\w+) buy \?", row["question"]).groups()
        facts = re.findall(r"(\w+) bought the (\w+) \.", row["context"])
        assert [thing for who, thing in facts if who == person and thing in THINGS[kind]] == [answer["text"]]
        needs_person += sum(thing in THINGS[kind] for _, thing in facts) > 1
    assert needs_person > 2000


def test_praised_aspects_match_an_independent_implementation():
    for row in PRAISE.load(None).train:
        praised = {clause.split()[1] for clause in row["text"].split(" , ") if sentiment(clause)}
        assert {PRAISE.labels[index] for index in row["label"]} == praised, row


def test_the_tag_of_a_name_depends_on_the_words_around_it():
    persons, places = Counter(), Counter()
    for row in NAMES.load(None).train:
        tags = [NAMES.labels[tag] for tag in row["tags"]]
        for type, first, last in entities(tags):
            {"PER": persons, "LOC": places}[type][row["tokens"][last]] += 1
            assert last - first <= 1
    assert persons.keys() == places.keys(), "every name is both"
    assert min(*persons.values(), *places.values()) > 100


def test_types_of_names_match_what_is_said_of_the_former_and_the_latter():
    counts = Counter()
    for row in NAMES.load(None).train:
        found = re.fullmatch(r"\w+ and \w+ : the (\w+) is (\w+) and the \w+ is (\w+) \.", " ".join(row["tokens"]))
        if found:
            first, *said = found.groups()
            types = ["PER" if word in ("tired", "hungry", "late") else "LOC" for word in said]
            former, latter = types if first == "former" else reversed(types)
            assert [NAMES.labels[tag] for tag in row["tags"][:3]] == [f"B-{former}", "O", f"B-{latter}"], row
            counts[former, latter] += 1
    assert min(counts.values()) > 300


def test_importing_generated_tasks_is_cheap():
    script = (
        "import sys; import harness.tasks.synthetic.generated_tasks; print({'torch', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
