"""The names of the environment variables that maskbench reads or sets; docs/environment.md says what each means."""

from __future__ import annotations

from typing import Final

# --- its own

CHECKOUT: Final = "MASKBENCH"
"""Folder of the checkout that runs, for the commands of rules; set by the Snakefile."""
CACHE: Final = "MASKBENCH_CACHE"
"""Folder for downloads, where the configuration names none."""
CELLS: Final = "MASKBENCH_CELLS"
"""How many cells a call of Snakemake trains; set when it starts, read by the line about progress."""
CLAIMS: Final = "MASKBENCH_CLAIMS"
"""Hash of the file of claims, which each record of a run keeps; set by the Snakefile."""
EXPERIMENT: Final = "MASKBENCH_EXPERIMENT"
"""File with the resolved experiment, for the jobs of a call; set by the Snakefile."""
GPUS: Final = "MASKBENCH_GPUS"
"""The cards to use, by index or UUID."""
ONLY: Final = "MASKBENCH_ONLY"
"""File with a list of runs: a call trains these, and those whose models they need, and no others."""
LEASES: Final = "MASKBENCH_LEASES"
"""Folder of the locks that jobs hold while they use a card."""
SLOTS_PER_GPU: Final = "MASKBENCH_SLOTS_PER_GPU"
"""Jobs that may share one card; set by the Snakefile from ``resources.slots_per_gpu``."""
STARTED: Final = "MASKBENCH_STARTED"
"""When a call of Snakemake started, in seconds since 1970; set when it starts, read by the line about progress."""

# --- of the system, CUDA, SLURM and the libraries

PATH: Final = "PATH"
PYTHONPATH: Final = "PYTHONPATH"
OMP_NUM_THREADS: Final = "OMP_NUM_THREADS"
LOCALE: Final = "LC_ALL"
"""Set to C for commands whose messages are read."""
TENSORBOARD: Final = "TENSORBOARD_LOGGING_DIR"
CUBLAS: Final = "CUBLAS_WORKSPACE_CONFIG"
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"

SLURM_JOB: Final = "SLURM_JOB_ID"
SLURM_STEP: Final = "SLURM_STEP_ID"
SLURM_NODE: Final = "SLURMD_NODENAME"
SLURM_GPUS: Final = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
"""The scheduler's assignment, the narrower one first."""

LAUNCHED: Final = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes they started; accelerate, and so the Trainer, believes each of them."""

ACCELERATED: Final = (
    "ACCELERATE_MIXED_PRECISION",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    "ACCELERATE_DYNAMO_BACKEND",
    "ACCELERATE_USE_CPU",
    "ACCELERATE_TORCH_DEVICE",
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_USE_FSDP",
    "ACCELERATE_USE_MEGATRON_LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG",
)
"""By which accelerate, and so the Trainer, would train otherwise than a configuration says; its launcher sets them."""

HUB: Final = "HF_HUB_CACHE"
HUB_CHOICES: Final = (HUB, "HUGGINGFACE_HUB_CACHE", "HF_HOME")
"""By which a user has already chosen where the hub's files are cached."""
HUB_XET: Final = "HF_XET_CACHE"
HUB_QUIET: Final = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
