"""Copies a full set of golden vectors into this folder, without what no test reads.

Left out: arrays that are not compared, and binary digits that are too fine to be: float64 arrays,
compared to 1e-9 of their largest value, are rounded to 6e-11 of it; those of SaShiMi, compared to 1e-8,
to 2e-9. Of its networks one is copied; the others' parameters alone would take half a megabyte. The
features of the metrics are replaced by fewer with the same mean and covariance, and the training set's
probabilities by their mean: what they are read for depends on nothing else.

    python tests/goldens/slim.py FULL_SET
"""

from __future__ import annotations

import json
import math
import sys
import zipfile
from pathlib import Path

import numpy as np
from scipy import linalg

NETWORK = "sashimi/s44_glu"
CASES = ("poolformer/*", "poolformer_layers/*", "sashimi/s4block_layer", NETWORK, "rglru/*", "mamba/*")
UNREAD_ARRAYS = ("learning_rates", "dA", "dB", "dC")
UNREAD_OF_NETWORKS = ("state_used/", "kernel/", "gradK/", "output_step")
"""And the gradients of C~, the parameter that the original has in the place of C."""
BITS, BITS_OF_NETWORKS = 33, 28
REPEATED_ARRAYS = ("mamba/output_step",)  # rounded, it is `output`
METRICS = ("metrics/balanced", "metrics/imbalanced")
DRAWN_AGAIN = ("mis_pairs", "is_permutation")  # by numpy's legacy generator, which does not change
UNREAD_FACTS = ("arrays", "parameter_meaning", "pooled_init_statistics", "per_module", "per_block")


def read(name: str) -> bool:
    """Whether a test reads this array: no inner values, no float32 run, no unrounded schedule."""
    return not (name.startswith("act/") or name.endswith("_f32") or name in UNREAD_ARRAYS)


def read_of_network(name: str) -> bool:
    """Of what `read` says of arrays of SaShiMi: no kernels, and gradients of C in the place of C~'s."""
    replaced = name.startswith("grad/") and ".kernel." in name
    return read(name) and not (replaced or name.startswith(UNREAD_OF_NETWORKS))


def rounded(array: np.ndarray, bits: int = BITS) -> np.ndarray:
    """float64 to multiples of a power of two, about 2^-bits of the largest value; others as they are."""
    largest = np.abs(array).max(initial=0.0)
    if array.dtype != np.float64 or largest == 0:
        return array
    unit = 2.0 ** (math.floor(math.log2(largest)) - bits)
    return np.round(array / unit) * unit


def main(source: Path) -> None:
    here = Path(__file__).parent
    for case in CASES:
        folder = here / Path(case).parent
        folder.mkdir(exist_ok=True)
        for path in sorted(source.glob(f"{case}.json")):
            facts = json.loads(path.read_text())
            slim = {key: value for key, value in facts.items() if key not in UNREAD_FACTS}
            (folder / path.name).write_text(json.dumps(slim, separators=(",", ":")) + "\n")
        wanted, bits = (read_of_network, BITS_OF_NETWORKS) if case == NETWORK else (read, BITS)
        for path in sorted(source.glob(f"{case}.npz")):
            with np.load(path, allow_pickle=False) as file:
                names = [name for name in file.files if wanted(name)]
                arrays = {
                    name: rounded(file[name], bits)
                    for name in names
                    if f"{folder.name}/{name}" not in REPEATED_ARRAYS
                }
            write(folder / path.name, arrays)
    for case in METRICS:
        facts = json.loads((source / f"{case}.json").read_text())
        del facts["arrays"]
        (here / f"{case}.json").write_text(json.dumps(facts, separators=(",", ":")) + "\n")
        with np.load(source / f"{case}.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name not in DRAWN_AGAIN}
        for name in ("feat_data", "feat_gen"):
            arrays[name] = of_equal_moments(arrays[name].astype(np.float64))
        arrays["probs_data"] = arrays["probs_data"].astype(np.float64).mean(axis=0, keepdims=True)
        write(here / f"{case}.npz", arrays)


def of_equal_moments(features: np.ndarray) -> np.ndarray:
    """As few clips as have the mean and the covariance of these: [N, F] -> [F + 1, F].

    A Fréchet distance depends on nothing else. Orthonormal columns, each of sum zero, take the place
    of the clips' own in a QR decomposition.
    """
    size = features.shape[1]
    mean = features.mean(axis=0)
    factor = np.linalg.qr(features - mean, mode="r") / math.sqrt(len(features) - 1)
    return mean + math.sqrt(size) * linalg.helmert(size + 1).T @ factor


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As numpy's own compressed files, which it reads alike, but by LZMA: a tenth smaller."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
