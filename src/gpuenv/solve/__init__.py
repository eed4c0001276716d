"""The solver: requirements, target, catalog and preferences in; Solution, Conflict or Missing out. Pure."""

from gpuenv.solve.offers import Offers
from gpuenv.solve.scout import Scout
from gpuenv.solve.solver import solve
from gpuenv.solve.task import Task

__all__ = ["Offers", "Scout", "Task", "solve"]
