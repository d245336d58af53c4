"""Sweeps: one scenario at many points of its settings, each over the same seeds.

design.py      which points: a grid, a list, a Latin hypercube, a Sobol' sequence
plan.py        the points as questions, all of them checked before anything is run
work.py        one point with its missing seeds, run to its rows of the table
executors.py   where the work is done: in this process, in worker processes, on a Ray cluster
driver.py      what is missing is worked off; what fails is on record and the others go on
table.py       one parquet table: a row for each point, seed and provider
report.py      the phase diagram, main effects, sensitivities, and the boundary where the verdict flips

runs/sweeps/NAME/DIGEST/sweep.json         what was asked: settings, points, seeds
runs/sweeps/NAME/DIGEST/points/DIGEST/     an ordinary run, which `ecosystem report` reads
runs/sweeps/NAME/DIGEST/rows/DIGEST.json   its rows of the table
runs/sweeps/NAME/DIGEST/failures/DIGEST.json
runs/sweeps/NAME/DIGEST/sweep.parquet
"""
