"""Row 12: a job that kills its model process, and one that never has memory enough."""

import pytest

from tests.faults.load import generate

NEIGHBOURS = 5
ENDS = {"do: segfault": "SIGSEGV", "do: kill": "SIGKILL", "do: exit": "exit status 3"}


@pytest.mark.row(12, "a job that segfaults, one that runs out of memory")
def test_only_the_guilty_one_fails(cluster, row):
    for trial in row.trials(cluster, short=1, full=8):
        prompt = trial.choose(*ENDS, "do: oom")
        # All of one batch key: whoever is in the queue by then shares the guilty one's batch.
        prompts = [f"neighbour {i}" for i in range(NEIGHBOURS)]
        prompts.insert(trial.chance.randrange(NEIGHBOURS + 1), prompt)
        jobs = {p: trial.submit(generate(p), *(["failed"] if p == prompt else [])) for p in prompts}
        trial.healed()
        trial.settle()
        guilty = cluster.ledger.get(jobs.pop(prompt))
        if prompt == "do: oom":
            assert guilty.error.code == "out_of_memory"
            assert guilty.steps[0].attempts == 1
        else:
            assert guilty.error.code == "poison"
            assert ENDS[prompt] in guilty.error.message
            assert guilty.steps[0].attempts == cluster.settings.max_attempts
        for job in jobs.values():
            assert cluster.ledger.get(job).steps[0].attempts == 1


@pytest.mark.row(12, "a job that segfaults, one that runs out of memory")
def test_too_little_memory_for_company_is_enough_for_one(cluster, row):
    for trial in row.trials(cluster, short=1, full=5):
        greedy = {**generate("do: oom in company"), "priority": "bulk"}
        others = [{**generate(f"neighbour {i}"), "priority": "bulk"} for i in range(NEIGHBOURS)]
        jobs = [trial.submit(document) for document in [greedy, *others]]
        trial.healed()
        trial.settle()
        step = cluster.ledger.get(jobs[0]).steps[0]
        assert step.step.batch_class > 1
        assert step.output.batch_class == 1
        assert step.attempts == 1
