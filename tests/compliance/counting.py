"""Counts the passes that are made through a network."""

import collections
import contextlib

import tensorflow as tf

from tests.toys import LazyReversed
from tfp_ar.internal.compiled_network import CompiledNetwork

PASS, GENERATE = "pass", "generate"
KINDS = {
    "InversePass": "inverse",
    "GeneratePass": GENERATE,
    "ImplicitPullBack": "implicit",
    "ExactPullBack": "exact",
    "SolvePass": "fixed_point",
    "DensityPass": "log_prob",
    "SamplePass": "sample",
}


class Ticks:
    """Numbers of executions, by name: the ops count that are run, not the lines that make them."""

    def __init__(self):
        self.counts = collections.Counter()

    def op(self, name):
        """Adds an op (or, eagerly, does at once) that adds 1 to `name` each time it is run."""

        def tick():
            self.counts[name] += 1
            return 0

        # Stateful: no graph leaves it out. XLA cannot run it.
        return tf.py_function(tick, [], tf.int32)


class TickingNetwork(LazyReversed):
    """Counts in `ticks` each execution of its passes; a sequential one is counted once."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ticks = Ticks()
        self._generating = False

    def call(self, x, conditional_input=None):
        """The parallel pass."""
        if self.built and not self._generating:
            self.ticks.op(PASS)
        return super().call(x, conditional_input)

    def generate(self, emit, batch_size, conditional_input=None):
        """The sequential pass; the parallel ones that it is made of here do not count."""
        self.ticks.op(GENERATE)
        self._generating = True
        try:
            return super().generate(emit, batch_size, conditional_input)
        finally:
            self._generating = False


class Work:
    """What `counted` counts: passes asked for eagerly or put into a graph, by kind, and tracings.

    Attributes:
      counts: runs of compiled functions of the networks, by their kind (of flows "inverse",
        "generate", "implicit", "exact"; of distributions "log_prob", "sample"), and passes made
        outside of these.
      traces: passes written into compiled functions while these were traced.
    """

    def __init__(self):
        self.counts, self.traces = collections.Counter(), 0
        self._inside = 0

    def passes(self) -> tuple[int, int]:
        """The numbers of parallel and of sequential passes, and both are 0 again.

        A gradient of a sample has one parallel pass ("implicit"); the "exact" one stands in a
        branch of a graph that is taken only if need be.
        """
        counts, self.counts = self.counts, collections.Counter()
        parallel = counts[PASS] + counts["inverse"] + counts["implicit"] + counts["log_prob"]
        return parallel, counts[GENERATE] + counts["sample"]

    def _note(self, kind):
        if self._inside:
            self.traces += 1
        else:
            self.counts[kind] += 1

    def network(self, *args, **kwargs):
        """A network whose passes are counted here."""
        work = self

        class Counted(LazyReversed):
            def call(self, x, conditional_input=None):
                work._note(PASS)
                return super().call(x, conditional_input)

        return Counted(*args, **kwargs)

    def function(self, original):
        """Counts the runs of what the method `CompiledNetwork.function` gives."""

        work = self

        class Noted:
            """A compiled function whose runs are counted."""

            def __init__(self, run, kind):
                self.run, self.kind = run, kind

            def __call__(self, *args):
                work.counts[self.kind] += 1
                return self.inside(self.run, *args)

            def get_concrete_function(self, *args):
                return self.inside(self.run.get_concrete_function, *args)

            def inside(self, run, *args):
                work._inside += 1
                try:
                    return run(*args)
                finally:
                    work._inside -= 1

        def counted(compiled, network_pass, jit_compile):
            run = original(compiled, network_pass, jit_compile)
            return Noted(run, KINDS[type(network_pass).__name__])

        return counted


@contextlib.contextmanager
def counted(monkeypatch):
    """A `Work` that counts what is done in the block."""
    work = Work()
    with monkeypatch.context() as patch:
        patch.setattr(CompiledNetwork, "function", work.function(CompiledNetwork.function))
        yield work
