"""python -m sipbalancer"""

from sipbalancer.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
