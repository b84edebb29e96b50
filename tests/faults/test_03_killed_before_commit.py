"""Row 3: kill -9 between upload and commit."""

import pytest

from shared.layout import manifest_key
from tests.faults.cluster import Cluster
from tests.faults.conftest import ENVIRONMENT
from tests.faults.load import generate, upload

ORPHAN_S = 3


@pytest.mark.row(3, "kill -9 between upload and commit")
def test_one_commit_and_no_orphan(tmp_path, row):
    env = {**ENVIRONMENT, "IMAGEMILL_ORPHAN_S": f"{ORPHAN_S}"}
    with Cluster(tmp_path / "cluster", {"diffuser": 2}, env) as cluster:
        recorded = {uploaded(cluster)}
        for trial in row.trials(cluster, short=1, full=7):
            kills = trial.choose(1, 2) if row.full else 1
            fell = ambush(cluster)
            job = trial.submit(pictures(trial))
            for fence in range(1, kills + 1):
                cluster.until(fell.is_set, what="a worker that is about to commit")
                trial.healed()
                assert any(f"/a{fence}/" in key for key in objects(cluster, f"jobs/{job}/"))
                if fence < kills:
                    fell = ambush(cluster)
            trial.settle()
            record = cluster.ledger.get(job)
            assert (record.fence, record.steps[0].attempts) == (kills + 1, kills + 1)
            recorded |= {manifest_key(job), *(artifact.key for artifact in record.artifacts)}
            until_only(cluster, recorded)
        # By now all of it is older than an orphan would have to be.
        cluster.sleep(2 * ORPHAN_S if row.full else 0)
        assert objects(cluster) == recorded


def ambush(cluster):
    """The death of the next worker that has uploaded and sends its COMMIT, which is not heard."""
    commit = cluster.script("commit")
    return cluster.trap(cluster.worker_names, "ledger", commit, cluster.kill_unheard)


def pictures(trial):
    document = generate(f"prompt {trial.chance.random()}")
    return {**document, "input": {**document["input"], "n": trial.choose(1, 2, 3)}}


def uploaded(cluster):
    """The key of a picture that no job needs."""
    answer = upload(cluster.api_url, seed=0).raise_for_status()
    return cluster.ledger.file_key(answer.json()["id"])[0]


def until_only(cluster, keys):
    cluster.until(lambda: objects(cluster) == keys, what="nothing in S3 but what is recorded")


def objects(cluster, prefix=""):
    """The keys of all objects in S3."""
    return {entry.key for entry in cluster.store.list(prefix)}
