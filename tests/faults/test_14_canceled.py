"""Row 14: cancel and delete at the edge of every state, and against commit."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle

import httpx
import pytest

from tests.faults.load import ERASED, blend, every_kind, generate, reimagine
from tests.waiting import PATIENCE_S

TITLE = "cancel at every state's edge; cancel against commit"
CHAIN = ("captioner", "translator", "diffuser")
ENDS = ("canceled", "succeeded")
CLIENTS = 4


@dataclass(frozen=True)
class Edge:
    """A moment of a job's life: when a part whose name begins with `sender` (None: a family of the
    chain) sends this request, or gets the reply to it. `answers` are what a cancel may hear."""

    name: str
    sender: str | None
    server: str
    request: str | bytes  # a script of the ledger, or what stands in the request
    after: bool
    answers: tuple[str, ...]
    prompt: str | None = None  # for a job of one step instead of three


EDGES = (
    # A reaper may let the job through at the same moment.
    Edge("waiting", "api", "ledger", "admit", False, ("canceled", "canceling")),
    Edge("published", None, "ledger", "claim", False, ("canceled",)),
    Edge("claimed", None, "ledger", "claim", True, ("canceling",)),
    Edge("running", "diffuser", "ledger", "renew", False, ("canceling",), "do: sleep 2"),
    Edge("renewed", "diffuser", "ledger", "renew", True, ("canceling",), "do: sleep 2"),
    Edge("uploading", "diffuser", "s3", b"-diffuse/a", False, ("canceling",)),
    Edge("uploaded", "diffuser", "s3", b"-diffuse/a", True, ("canceling",)),
    Edge("at COMMIT", None, "ledger", "commit", False, ("canceling",)),
    Edge("committed", None, "ledger", "commit", True, ENDS),
    Edge("failing", "diffuser", "ledger", "fail", False, ("canceling",), "do: kill"),
    Edge("to be tried again", "diffuser", "ledger", "fail", True, ("canceled",), "do: kill"),
)


@dataclass(frozen=True)
class Told:
    """What was answered to a cancel (the job) or to a DELETE (None)."""

    job_id: str
    job: dict | None
    claims: int  # of all jobs, by then


@pytest.mark.row(14, TITLE)
def test_a_cancel_at_an_edge_has_one_winner(cluster, row):
    for trial, edge in zip(row.trials(cluster, len(EDGES), 3 * len(EDGES)), cycle(EDGES)):
        told = tell_at(cluster, trial, edge)
        trial.healed()
        trial.settle()
        assert told.job["status"] in edge.answers, edge.name
        check_kept(trial, told)
        assert claims(cluster) == told.claims, edge.name


@pytest.mark.row(14, TITLE)
def test_a_delete_at_an_edge_leaves_nothing(cluster, row):
    places = EDGES[1:]
    for trial, edge in zip(row.trials(cluster, 3, 2 * len(places)), cycle(places)):
        edge = edge if row.full else trial.choose(*places)
        told = tell_at(cluster, trial, edge, erase=True)
        trial.healed()
        trial.settle()
        until_gone(cluster, told.job_id)
        assert claims(cluster) == told.claims, edge.name


@pytest.mark.row(14, TITLE)
def test_a_race_has_one_winner(cluster, row):
    """Cancel and DELETE at random moments, many of them near a commit."""
    for trial in row.trials(cluster, short=1, full=5):
        documents = every_kind(trial.chance)
        moments = [
            (next(documents), trial.chance.uniform(0, 1), trial.chance.random() < 0.3)
            for _ in range(40 if row.full else 12)
        ]

        def run(moment, trial=trial):
            document, delay_s, erase = moment
            job = trial.submit(document, *((ERASED,) if erase else ENDS))
            time.sleep(delay_s)
            return tell(cluster, job, erase)

        with ThreadPoolExecutor(CLIENTS) as pool:
            said = [pool.submit(run, moment) for moment in moments]
            cluster.until(lambda said=said: all(each.done() for each in said))
        trial.healed()
        trial.settle()
        for told in [each.result() for each in said]:
            if told.job:
                check_kept(trial, told)
            else:
                until_gone(cluster, told.job_id)


def tell_at(cluster, trial, edge, erase=False):
    """Submit a job and cancel it, or delete it, at this edge; what was answered."""
    sender = edge.sender or trial.choose(*CHAIN)
    names = [name for name in cluster.links if name.startswith(sender)]
    script = isinstance(edge.request, str)
    request = cluster.script(edge.request) if script else edge.request
    said, accepted = [], threading.Event()

    def spring(_):
        if edge.sender != "api":  # which is held before its answer
            accepted.wait(PATIENCE_S)
        newest = httpx.get(f"{cluster.api_url}/v1/jobs", params={"limit": 1}, timeout=PATIENCE_S)
        said.append(tell(cluster, newest.json()["data"][0]["id"], erase))

    reached = cluster.trap(names, edge.server, request, spring, edge.after)
    seed = trial.chance.randrange(50)
    document = generate(edge.prompt) if edge.prompt else trial.choose(blend, reimagine)(seed)
    job = trial.submit(document, *((ERASED,) if erase else ENDS))
    accepted.set()
    cluster.until(reached.is_set, what=f"{sender}: {edge.name}")
    assert said[0].job_id == job
    return said[0]


def tell(cluster, job_id, erase):
    """Cancel or delete the job, and read what is answered."""
    url = f"{cluster.api_url}/v1/jobs/{job_id}"
    if erase:
        assert httpx.delete(url, timeout=PATIENCE_S).status_code == 204
        assert httpx.get(url, timeout=PATIENCE_S).status_code == 404
    answer = (
        None if erase else httpx.post(f"{url}/cancel", timeout=PATIENCE_S).raise_for_status().json()
    )
    return Told(job_id, answer, claims(cluster))


def claims(cluster):
    return cluster.ledger.counters().get("claims", 0)


def check_kept(trial, told):
    """What the answer said has come true, and nothing was done or made after it."""
    before, now = told.job, trial.client.job(told.job_id)
    if before["status"] == "canceling":
        assert now["status"] == "canceled"
    else:
        assert now["status"] == before["status"]
        assert now["status"] in ENDS
        assert now["steps"] == before["steps"]
        assert now["finished_at"] == before["finished_at"]
    assert executions(now) == executions(before)
    assert now["outputs"] == before["outputs"]


def executions(job):
    return [step["attempts"] for step in job["steps"]]


def until_gone(cluster, job_id):
    """Wait until neither the ledger nor S3 knows of the job."""

    def gone():
        known = cluster.redis("ledger").exists(f"job:{job_id}")
        return not known and not list(cluster.store.list(f"jobs/{job_id}/"))

    cluster.until(gone, what=f"{job_id} gone")
