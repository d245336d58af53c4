"""``python -m ecosystem``."""

from ecosystem.cli import main

main()
