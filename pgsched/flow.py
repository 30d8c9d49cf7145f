"""Plans of several tasks: steps, chains, and what runs side by side."""

from pgsched.domain.task_spec import StepOptions
from pgsched.domain.workflow import MAX_STEPS, Chain, Parallel, Step, chain, group, parallel, step

__all__ = ["MAX_STEPS", "Chain", "Parallel", "Step", "StepOptions", "chain", "group", "parallel", "step"]
