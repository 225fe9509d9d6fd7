"""What a piece of work takes: memory and energy, each watched by itself, and meter, which puts them together.

pilot says how fast the machine is.

May import: core, models, leaderboard.records.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={"energy": ["EnergyMeter", "energy_counters"], "memory": ["PeakMemory"], "meter": ["Meter"]},
)
