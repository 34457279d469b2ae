from harness.api.seeds import derive


def test_seeds_for_different_purposes_differ():
    seeds = {derive(seed, purpose) for seed in range(50) for purpose in ("student", "modules", "data")}
    assert len(seeds) == 150
    assert derive(1, "student") == derive(1, "student")


def test_a_derived_seed_is_equal_in_every_process():
    assert derive(1, "student") == int.from_bytes(bytes.fromhex("32b65b83b45fb5"), "big")
