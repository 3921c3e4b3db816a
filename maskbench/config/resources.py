"""What a training job may use: GPU slots, memory and time for the scheduler."""

from __future__ import annotations

from maskbench.config.block import Block, Count


class Resources(Block):
    """Requests of one training job; a cluster's scheduler enforces them, a local run counts the GPU slots."""

    slots_per_gpu: Count = 1
    """Training jobs that may share one card."""
    memory_mb: Count = 3000
    """Main memory of a training job, in MB."""
    minutes: Count = 120
    """Time limit of a training job on a cluster, in minutes."""
