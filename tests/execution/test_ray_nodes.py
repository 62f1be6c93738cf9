"""A suite on a Ray cluster of two nodes; one of them works without the driver's disk, and dies half-way."""

import json
from pathlib import Path

import pytest

import harness
from harness.errors import HarnessError
from harness.execution import ray_environment
from harness.execution.executor import Silence
from harness.execution.ray_folder import ray_folder
from harness.execution.run_suite import RunOptions, plan_suite, run_plan
from harness.suite.suite import load_suite

ray_environment.prepare(local=True)

from ray.cluster_utils import Cluster  # noqa: E402 (the environment comes first)

from harness.execution.ray_cluster import NODE, RayCluster  # noqa: E402

NUMBERS = ["nll_bits_train", "nll_bits_validation", "nll_bits_test"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def nodes(scratch):
    """Two raylets of one CPU each. The second works in a folder of its own, as one without a shared disk."""
    with ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        # It would tell everybody on this machine that "auto" is this cluster, and leave a file that says so.
        patch.setattr("ray._private.utils.write_ray_address", lambda *_: None)
        common = {"num_cpus": 1, "resources": {NODE: 1}, "object_store_memory": 80 * 2**20}
        head = {**common, "include_dashboard": False, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        second = cluster.add_node(**common, env_vars={"HARNESS_SCRATCH": str(scratch)})
        yield cluster, second
        cluster.shutdown()


class KillsANode(Silence):
    """A node dies after its first trial, once its next one has sent a state to continue from."""

    def __init__(self, cluster, node):
        self.cluster, self.node = cluster, node
        self.ended_at = []
        self.lost = []

    def ended(self, task, record):
        self.ended_at.append(record.provenance["node"])

    def progress(self, task, fraction, text):
        folder = Path(task.folder)
        runs_elsewhere = not (folder / "log.txt").exists()  # which comes at the end
        has_sent = (folder / "resume.safetensors").exists()
        if not self.lost and self.node.node_id[:8] in self.ended_at and runs_elsewhere and has_sent:
            self.lost.append(task.trial)
            self.cluster.remove_node(self.node, allow_graceful=False)


@pytest.fixture(scope="module")
def disturbed(nodes, tmp_path_factory, suite_text):
    """What is left of a run during which the second node died."""
    place = tmp_path_factory.mktemp("nodes")
    text = suite_text("vary: {model.width: [2, 8]}\nseeds: 2")
    text = text.replace("steps: 3", "steps: 24").replace("validate_every: 2", "validate_every: 12")
    (place / "plain.yaml").write_text(text)
    (place / "slow.yaml").write_text(text.replace("{name: tiny}", "{name: tiny, pause: 0.05}"))
    cluster, second = nodes
    suite = load_suite(place / "slow.yaml")
    options = RunOptions(
        results=place / "results", address=cluster.address, device="cpu", checkpoint_seconds=0.01
    )
    events = KillsANode(cluster, second)
    outcome = run_plan(plan_suite(suite, options), options, events)
    undisturbed = harness.run_suite(place / "plain.yaml", results=place / "serial", serial=True, device="cpu")
    assert events.lost
    return outcome, harness.load_results(place / "results"), undisturbed, place / "results" / "trials"


def records(trials):
    return [json.loads(path.read_text()) for path in trials.glob("*/record.json")]


def test_the_table_is_complete_and_has_the_numbers_of_a_serial_run(disturbed):
    outcome, table, undisturbed, _ = disturbed
    assert outcome.exit_code == 0 and set(table["status"]) == {"ok"} and len(table) == 6
    by = ["variant", "seed"]
    assert table.set_index(by)[NUMBERS].sort_index().equals(undisturbed.set_index(by)[NUMBERS].sort_index())


def test_both_nodes_had_trials_and_say_so(disturbed):
    assert len({record["provenance"]["node"] for record in records(disturbed[3])}) == 2


def test_a_trial_of_the_lost_node_goes_on_elsewhere_from_what_it_had_sent(disturbed):
    (again,) = [each for each in records(disturbed[3]) if each["provenance"]["attempt"] > 1]
    assert again["provenance"]["attempt"] == 2
    assert again["provenance"]["resumes"][0]["at_step"] > 0


def test_a_trial_leaves_the_same_files_wherever_it_ran(disturbed):
    for folder in disturbed[3].iterdir():
        names = {file.name for file in folder.iterdir()}
        assert names == {"record.json", "history.csv", "checkpoint.safetensors", "log.txt"}


def test_a_trial_that_no_single_node_can_hold_is_refused_at_once(nodes):
    cluster = RayCluster(slots=1, threads=3, gpu=False, address=nodes[0].address)
    with pytest.raises(
        HarnessError, match=r"needs 3 CPU on one node; the Ray cluster's nodes: \d with 1 CPU"
    ):
        cluster.start()


def test_a_search_is_refused_where_a_node_does_not_see_the_results(nodes, tmp_path, monkeypatch):
    cluster = RayCluster(slots=1, threads=1, gpu=False, address=nodes[0].address)
    cluster.start()
    try:
        cluster.check_searchable(tmp_path)
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr("harness.execution.ray_cluster._is_there", lambda path: False)
        with pytest.raises(HarnessError, match=r"node \w{8} of the Ray cluster does not see .*tune:"):
            cluster.check_searchable(tmp_path)
    finally:
        cluster.stop()


def test_a_search_is_refused_from_outside_of_the_cluster(tmp_path):
    cluster = RayCluster(slots=1, threads=1, gpu=False, address="ray://127.0.0.1:10001")
    with pytest.raises(HarnessError, match="--address auto, or leave it out with --skip-tuning"):
        cluster.check_searchable(tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379"])
def test_where_no_cluster_answers_one_sentence_says_so(address):
    with pytest.raises(HarnessError, match=f"no Ray cluster answers at {address}: .*--address is"):
        RayCluster(slots=1, threads=1, gpu=False, address=address).start()
