"""Fair timing: medians over rounds of all candidates in turn, and ratios within a round."""

import dataclasses
import os
import platform
import statistics
import time

import keras
import tensorflow as tf
import tensorflow_probability as tfp


@dataclasses.dataclass
class Timing:
    """The seconds of one candidate, with one entry per round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.seconds)

    def ratio(self, other: "Timing") -> float:
        """Returns the median over the rounds of own seconds divided by the other's.

        Neighbours in time share the state of the machine, so this is steadier than the ratio of
        the medians.
        """
        pairs = zip(self.seconds, other.seconds, strict=False)  # slow ones run fewer rounds
        return statistics.median(a / b for a, b in pairs)


def measure(candidates, rounds: int, budget_seconds: float) -> dict[str, Timing]:
    """Times functions in turn, after one call of each to compile it.

    Args:
      candidates: dict of functions without arguments that return a tensor.
      rounds: number of timed calls of each.
      budget_seconds: a candidate is no longer timed after this many seconds, but at least once.

    Returns: a Timing for each candidate.
    """
    timings = {name: Timing([]) for name in candidates}
    for function in candidates.values():
        _wait(function())
    for _ in range(rounds):
        for name, function in candidates.items():
            spent = timings[name].seconds
            if spent and sum(spent) > budget_seconds:
                continue
            start = time.perf_counter()
            _wait(function())
            spent.append(time.perf_counter() - start)
    return timings


def _wait(tensor):
    tensor.numpy()  # on a GPU, calls return before the work is done


def machine() -> str:
    """Returns one line with the machine and the versions that the figures belong to."""
    gpus = tf.config.list_physical_devices("GPU")
    devices = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]
    device = ", ".join(map(str, devices)) or f"{os.cpu_count()} CPU cores ({_cpu_name()})"
    return (
        f"{device}; Python {platform.python_version()}, TensorFlow {tf.__version__}, TFP "
        f"{tfp.__version__}, Keras {keras.__version__}; {time.strftime('%Y-%m-%d')}"
    )


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
